/* libsgx_dcap_ql as far as the tests need it: see README.md. */
#include "dcap_abi.h"

static bool out_of_process;

__attribute__((constructor)) static void look_around(void) { out_of_process = getenv("SGX_AESM_ADDR") != NULL; }

quote3_error_t sgx_qe_set_enclave_load_policy(uint32_t policy) {
    return out_of_process ? UNSUPPORTED_MODE : sgx_ql_set_enclave_load_policy(policy);
}

quote3_error_t sgx_qe_get_target_info(sgx_target_info_t *target_info) {
    uint8_t public_key_id[32];
    size_t size = sizeof public_key_id;
    return sgx_ql_init_quote(NULL, target_info, false, &size, public_key_id);
}

quote3_error_t sgx_qe_get_quote_size(uint32_t *size) { return sgx_ql_get_quote_size(NULL, size); }

quote3_error_t sgx_qe_get_quote(const sgx_report_t *report, uint32_t size, uint8_t *quote) {
    return sgx_ql_get_quote(report, NULL, NULL, quote, size);
}

quote3_error_t sgx_qe_cleanup_by_policy(void) { return ask("clean_up", NULL, 0, NULL, 0, NULL); }

quote3_error_t sgx_ql_set_path(uint32_t kind, const char *path) {
    return out_of_process ? UNSUPPORTED_MODE : set_path(kind, path);
}
