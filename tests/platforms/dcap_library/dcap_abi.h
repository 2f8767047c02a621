/* The binary interface of Intel's quoting libraries as far as the tests need it, and the way to the enclaves. */
#ifndef DCAP_ABI_H
#define DCAP_ABI_H

#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#ifdef HIDDEN
#define LOGIC __attribute__((visibility("hidden")))
#else
#define LOGIC __attribute__((visibility("default")))
#endif

typedef uint32_t quote3_error_t;

enum {
    SUCCESS = 0,
    UNEXPECTED = 0xE001,
    INVALID_PARAMETER = 0xE002,
    NO_PLATFORM_CERT_DATA = 0xE011,
    ENCLAVE_LOAD_ERROR = 0xE016,
    UNSUPPORTED_MODE = 0xE03E,
};

typedef struct {
    uint8_t octets[512];
} sgx_target_info_t;

typedef struct {
    uint8_t octets[432];
} sgx_report_t;

#pragma pack(push, 1)
typedef struct {
    uint16_t id;
    uint16_t version;
    uint16_t mrsigner_length;
    uint8_t mrsigner[48];
    uint32_t prod_id;
    uint8_t extended_prod_id[16];
    uint8_t config_id[64];
    uint8_t family_id[16];
    uint32_t algorithm_id;
} sgx_ql_att_key_id_t;

typedef struct {
    sgx_ql_att_key_id_t base;
    uint8_t spid[16];
    uint16_t att_key_type;
    uint8_t reserved[80];
} sgx_att_key_id_ext_t;

typedef struct {
    uint8_t nonce[16];
    sgx_target_info_t app_enclave_target_info;
    sgx_report_t qe_report;
} sgx_ql_qe_report_info_t;

typedef struct {
    uint8_t *p_qe3_id;
    uint32_t qe3_id_size;
    uint8_t *p_platform_cpu_svn;
    uint16_t *p_platform_pce_isv_svn;
    uint8_t *p_encrypted_ppid;
    uint32_t encrypted_ppid_size;
    uint8_t crypto_suite;
    uint16_t pce_id;
} sgx_ql_pck_cert_id_t;

typedef struct {
    uint32_t version;
    uint8_t cert_cpu_svn[16];
    uint16_t cert_pce_isv_svn;
    uint32_t cert_data_size;
    uint8_t *p_cert_data;
} sgx_ql_config_t;
#pragma pack(pop)

/* A message: the call's name in 16 bytes, the payload's length, the payload. The answer: what to do (0 return, 1 crash),
 * the code to return, the payload's length, the payload. */
enum { RETURN = 0, CRASH = 1, PAYLOAD_LIMIT = 1 << 20 };

static int connected = -1;
static char connected_to[108];

static int reach(void) {
    const char *path = getenv("QUOTEHELPER_TEST_ENCLAVES");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path == NULL || strlen(path) >= sizeof address.sun_path) return -1;
    if (connected >= 0 && strcmp(path, connected_to) == 0) return connected;
    if (connected >= 0) close(connected);
    strcpy(address.sun_path, path);
    connected = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connected >= 0 && connect(connected, (struct sockaddr *)&address, sizeof address) != 0) {
        close(connected);
        connected = -1;
    }
    strcpy(connected_to, path);
    return connected;
}

static bool put(int fd, const void *from, size_t size) {
    while (size > 0) {
        ssize_t sent = send(fd, from, size, MSG_NOSIGNAL);
        if (sent <= 0) return false;
        from = (const char *)from + sent;
        size -= sent;
    }
    return true;
}

static bool get(int fd, void *to, size_t size) {
    while (size > 0) {
        ssize_t received = recv(fd, to, size, 0);
        if (received <= 0) return false;
        to = (char *)to + received;
        size -= received;
    }
    return true;
}

/* The code that the enclaves answer to `call`; their payload, of at most `room` bytes, goes to `to`. */
__attribute__((unused)) static quote3_error_t ask(const char *call, const void *payload, uint32_t size, void *to,
                                                  uint32_t room, uint32_t *got) {
    char name[16] = {0};
    uint32_t answer[3];
    int fd = reach();
    strncpy(name, call, sizeof name - 1);
    if (fd < 0) return ENCLAVE_LOAD_ERROR;
    if (!put(fd, name, sizeof name) || !put(fd, &size, sizeof size) || !put(fd, payload, size) ||
        !get(fd, answer, sizeof answer) || answer[2] > room || !get(fd, to, answer[2])) {
        close(connected);
        connected = -1;
        return UNEXPECTED;
    }
    if (answer[0] == CRASH) raise(SIGSEGV);
    if (got != NULL) *got = answer[2];
    return answer[1];
}

LOGIC quote3_error_t sgx_ql_set_enclave_load_policy(uint32_t policy);
LOGIC quote3_error_t set_path(uint32_t kind, const char *path);
LOGIC quote3_error_t sgx_ql_init_quote(sgx_ql_att_key_id_t *, sgx_target_info_t *, bool, size_t *, uint8_t *);
LOGIC quote3_error_t sgx_ql_get_quote_size(sgx_ql_att_key_id_t *, uint32_t *);
LOGIC quote3_error_t sgx_ql_get_quote(const sgx_report_t *, sgx_ql_att_key_id_t *, sgx_ql_qe_report_info_t *,
                                      uint8_t *, uint32_t);
LOGIC quote3_error_t sgx_ql_get_keyid(sgx_att_key_id_ext_t *);

#endif
