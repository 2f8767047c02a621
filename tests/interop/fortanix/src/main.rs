//! Asks the AESM daemon at a socket for a quote with Fortanix's client, in two steps, as an enclave runner does:
//!
//!     fortanix-driver SOCKET target-info OUT
//!     fortanix-driver SOCKET quote REPORT OUT

use aesm_client::{unix::AesmClientExt, AesmClient};
use anyhow::{anyhow, bail, Result};
use std::{env, fs};

const ALGORITHM_AT: usize = 154;
const ECDSA_P256: [u8; 4] = [2, 0, 0, 0];

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (socket, action) = words.split_first().ok_or_else(|| anyhow!("a socket is missing"))?;
    let client = AesmClient::with_path(socket);
    client.try_connect().map_err(|error| anyhow!("try_connect: {error:?}"))?;
    let key = ecdsa_key(&client)?;
    match action {
        ["target-info", out] => {
            let quoting = client.init_quote_ex(key).map_err(|error| anyhow!("init_quote_ex: {error:?}"))?;
            fs::write(out, quoting.target_info())?;
        }
        ["quote", report, out] => {
            let nonce = (0..16).collect();
            let quoted = client
                .get_quote_ex(key, fs::read(report)?, None, nonce)
                .map_err(|error| anyhow!("get_quote_ex: {error:?}"))?;
            fs::write(out, quoted.quote())?;
        }
        _ => bail!("target-info OUT, or quote REPORT OUT"),
    }
    Ok(())
}

/// The daemon's ECDSA key, chosen as Fortanix's runner chooses it: by the algorithm in its id.
fn ecdsa_key(client: &AesmClient) -> Result<Vec<u8>> {
    let ids = client.get_supported_att_key_ids().map_err(|error| anyhow!("get_supported_att_key_ids: {error:?}"))?;
    ids.into_iter()
        .find(|id| id[ALGORITHM_AT..ALGORITHM_AT + 4] == ECDSA_P256)
        .ok_or_else(|| anyhow!("the daemon offers no ECDSA key"))
}
