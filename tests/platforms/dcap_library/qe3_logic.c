/* libsgx_qe3_logic as far as the tests need it: see README.md. */
#include "dcap_abi.h"

enum { PROVIDER = 2, PUBLIC_KEY_ID = 32, PATH_ROOM = 4096 };

static char provider_path[PATH_ROOM];
static char provider_set_for[sizeof connected_to]; /* other enclaves are another test's: its library starts afresh */

quote3_error_t sgx_ql_set_enclave_load_policy(uint32_t policy) {
    return ask("policy", &policy, sizeof policy, NULL, 0, NULL);
}

quote3_error_t set_path(uint32_t kind, const char *path) {
    char message[sizeof kind + PATH_ROOM];
    struct stat status;
    if (path == NULL || strlen(path) >= PATH_ROOM || stat(path, &status) != 0 || !S_ISREG(status.st_mode))
        return INVALID_PARAMETER;
    if (kind == PROVIDER && reach() >= 0) {
        strcpy(provider_path, path);
        strcpy(provider_set_for, connected_to);
    }
    memcpy(message, &kind, sizeof kind);
    memcpy(message + sizeof kind, path, strlen(path));
    return ask("path", message, sizeof kind + strlen(path), NULL, 0, NULL);
}

static void *provider(void) {
    void *library = NULL;
    if (reach() >= 0 && strcmp(provider_set_for, connected_to) == 0) return dlopen(provider_path, RTLD_LAZY);
    library = dlopen("libdcap_quoteprov.so.1", RTLD_LAZY);
    return library != NULL ? library : dlopen("libdcap_quoteprov.so", RTLD_LAZY);
}

/* Ask the quote provider, as the real library does before it certifies its key; 1 in `certified` if it has a chain. */
static quote3_error_t fetch_certificates(uint32_t *certified) {
    static uint8_t qe3_id[16], cpu_svn[16], encrypted_ppid[384];
    static uint16_t pce_isv_svn;
    sgx_ql_pck_cert_id_t id = {qe3_id, sizeof qe3_id, cpu_svn, &pce_isv_svn, encrypted_ppid, sizeof encrypted_ppid, 1, 0};
    sgx_ql_config_t *config = NULL;
    quote3_error_t (*get_config)(const sgx_ql_pck_cert_id_t *, sgx_ql_config_t **) = NULL;
    quote3_error_t (*free_config)(sgx_ql_config_t *) = NULL;
    quote3_error_t code;
    void *library = provider();
    *certified = 0;
    if (library == NULL) return SUCCESS;
    *(void **)&get_config = dlsym(library, "sgx_ql_get_quote_config");
    *(void **)&free_config = dlsym(library, "sgx_ql_free_quote_config");
    if (get_config == NULL || free_config == NULL) return SUCCESS;
    code = get_config(&id, &config);
    if (code == NO_PLATFORM_CERT_DATA) return SUCCESS;
    if (code != SUCCESS) return code;
    *certified = config->version == 1 && config->cert_data_size > 0;
    return free_config(config);
}

quote3_error_t sgx_ql_init_quote(sgx_ql_att_key_id_t *key, sgx_target_info_t *target_info, bool refresh, size_t *size,
                                 uint8_t *public_key_id) {
    uint8_t answer[sizeof *target_info + PUBLIC_KEY_ID];
    uint32_t certified;
    quote3_error_t code;
    if (size == NULL || key != NULL || refresh) return INVALID_PARAMETER;
    if (public_key_id == NULL) {
        *size = PUBLIC_KEY_ID;
        return SUCCESS;
    }
    if (*size < PUBLIC_KEY_ID || target_info == NULL) return INVALID_PARAMETER;
    code = fetch_certificates(&certified);
    if (code != SUCCESS) return code;
    code = ask("init", &certified, sizeof certified, answer, sizeof answer, NULL);
    if (code != SUCCESS) return code;
    memcpy(target_info, answer, sizeof *target_info);
    memcpy(public_key_id, answer + sizeof *target_info, PUBLIC_KEY_ID);
    return SUCCESS;
}

quote3_error_t sgx_ql_get_quote_size(sgx_ql_att_key_id_t *key, uint32_t *size) {
    if (size == NULL || key != NULL) return INVALID_PARAMETER;
    return ask("size", NULL, 0, size, sizeof *size, NULL);
}

quote3_error_t sgx_ql_get_quote(const sgx_report_t *report, sgx_ql_att_key_id_t *key, sgx_ql_qe_report_info_t *info,
                                uint8_t *quote, uint32_t size) {
    uint8_t message[sizeof size + sizeof *report + sizeof *info];
    uint8_t *answer;
    uint32_t length = sizeof size + sizeof *report + (info != NULL ? sizeof *info : 0);
    uint32_t got = 0;
    quote3_error_t code;
    if (report == NULL || quote == NULL || key != NULL) return INVALID_PARAMETER;
    memcpy(message, &size, sizeof size);
    memcpy(message + sizeof size, report, sizeof *report);
    if (info != NULL) memcpy(message + sizeof size + sizeof *report, info, sizeof *info);
    answer = malloc(PAYLOAD_LIMIT);
    code = ask("quote", message, length, answer, PAYLOAD_LIMIT, &got);
    if (code == SUCCESS) {
        uint32_t told = info != NULL ? sizeof *info : 0;
        if (info != NULL) memcpy(info, answer, told);
        memcpy(quote, answer + told, got - told < size ? got - told : size);
    }
    free(answer);
    return code;
}

quote3_error_t sgx_ql_get_keyid(sgx_att_key_id_ext_t *key) {
    if (key == NULL) return INVALID_PARAMETER;
    return ask("key_id", NULL, 0, key, sizeof *key, NULL);
}
