/* The signing limit: how long OpenSSL takes for one ECDSA P-256 signature over 432 bytes, hash included.
 *
 *   signing SECONDS
 *
 * Prints seconds of processor time a signature, and the library's version. 432 bytes are what a quote's signature covers. A fresh nonce
 * for each signature, nothing precomputed: what every honest signer must do.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/obj_mac.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Of processor time, so that neighbours on the machine don't count. */
static double clock_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    double seconds = argc == 2 ? atof(argv[1]) : 0;
    if (!(seconds > 0)) {
        fprintf(stderr, "usage: signing SECONDS\n");
        return 2;
    }
    unsigned char message[432] = {3}, digest[SHA256_DIGEST_LENGTH], signature[128];
    unsigned int size;
    EC_KEY *key = EC_KEY_new_by_curve_name(NID_X9_62_prime256v1);
    if (!key || !EC_KEY_generate_key(key)) {
        fprintf(stderr, "signing: no P-256 key\n");
        return 2;
    }
    long count = 0;
    double begin = clock_s(), elapsed;
    do {
        for (int i = 0; i < 64; i++, count++) {
            SHA256(message, sizeof message, digest);
            if (!ECDSA_sign(0, digest, sizeof digest, signature, &size, key)) {
                fprintf(stderr, "signing: no signature\n");
                return 2;
            }
            message[(unsigned long)count % sizeof message]++;
        }
        elapsed = clock_s() - begin;
    } while (elapsed < seconds);
    printf("%.9f %s\n", elapsed / (double)count, OpenSSL_version(OPENSSL_VERSION));
    EC_KEY_free(key);
    return 0;
}
