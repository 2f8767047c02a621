/* Prints "structure field offset size" as this compiler lays them out; structures themselves with offset 0. */
#include "dcap_abi.h"

#define WHOLE(kind) printf(#kind " - 0 %zu\n", sizeof(kind))
#define FIELD(kind, field) printf(#kind " " #field " %zu %zu\n", offsetof(kind, field), sizeof(((kind *)0)->field))

int main(void) {
    WHOLE(sgx_target_info_t);
    WHOLE(sgx_report_t);
    WHOLE(sgx_ql_att_key_id_t);
    FIELD(sgx_ql_att_key_id_t, id);
    FIELD(sgx_ql_att_key_id_t, version);
    FIELD(sgx_ql_att_key_id_t, mrsigner_length);
    FIELD(sgx_ql_att_key_id_t, mrsigner);
    FIELD(sgx_ql_att_key_id_t, prod_id);
    FIELD(sgx_ql_att_key_id_t, extended_prod_id);
    FIELD(sgx_ql_att_key_id_t, config_id);
    FIELD(sgx_ql_att_key_id_t, family_id);
    FIELD(sgx_ql_att_key_id_t, algorithm_id);
    WHOLE(sgx_att_key_id_ext_t);
    FIELD(sgx_att_key_id_ext_t, base);
    FIELD(sgx_att_key_id_ext_t, spid);
    FIELD(sgx_att_key_id_ext_t, att_key_type);
    FIELD(sgx_att_key_id_ext_t, reserved);
    WHOLE(sgx_ql_qe_report_info_t);
    FIELD(sgx_ql_qe_report_info_t, nonce);
    FIELD(sgx_ql_qe_report_info_t, app_enclave_target_info);
    FIELD(sgx_ql_qe_report_info_t, qe_report);
    WHOLE(sgx_ql_pck_cert_id_t);
    FIELD(sgx_ql_pck_cert_id_t, pce_id);
    WHOLE(sgx_ql_config_t);
    FIELD(sgx_ql_config_t, p_cert_data);
    return 0;
}
