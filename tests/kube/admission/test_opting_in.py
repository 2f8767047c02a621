from __future__ import annotations

import pytest

from pods import ENCLAVE, EPC, PROVIDER, PROVISION, QUOTING, admitted, container, container_of, judged, kinds, pod, sgx

AESM = {"name": "SGX_AESM_ADDR", "value": "1"}
MOUNT = {"name": "quotehelper-aesmd", "mountPath": "/var/run/aesmd", "readOnly": True}
VOLUME = {"name": "quotehelper-aesmd", "hostPath": {"path": "/var/run/aesmd", "type": "Directory"}}
SIDECAR = {"restartPolicy": "Always"}


def roles(raw: dict[str, object]) -> dict[str, str]:
    """What each container of an admitted pod has become."""
    found = {}
    for kind in ("containers", "initContainers"):
        for each in raw["spec"].get(kind, ()):  # type: ignore[attr-defined]  # a pod's JSON
            client = AESM in each.get("env", ())
            provision = PROVISION in each.get("resources", {}).get("limits", {})
            found[each["name"]] = "client" * client + "provision" * provision
    return found


def test_by_our_annotation_a_container_with_epc_gets_environment_directory_and_device() -> None:
    result = admitted(pod(sgx(), annotations={QUOTING: "out-of-process"}))
    assert result["spec"]["containers"][0]["env"] == [AESM]
    assert result["spec"]["containers"][0]["volumeMounts"] == [MOUNT]
    assert result["spec"]["volumes"] == [VOLUME]
    limits = {EPC: "10Mi", ENCLAVE: "1"}
    assert result["spec"]["containers"][0]["resources"] == {"limits": limits, "requests": limits}


def test_the_variable_that_is_injected_is_text() -> None:
    result = admitted(pod(sgx(), annotations={QUOTING: "out-of-process"}))
    assert all(isinstance(variable["value"], str) for variable in result["spec"]["containers"][0]["env"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("out-of-process", {"a": "client", "b": "client", "plain": "", "init": "client", "side": "client"}),
        ("*=out-of-process", {"a": "client", "b": "client", "plain": "", "init": "client", "side": "client"}),
        ("in-process", {"a": "provision", "b": "provision", "plain": "", "init": "provision", "side": "provision"}),
        ("none", {"a": "", "b": "", "plain": "", "init": "", "side": ""}),
        ("a=out-of-process", {"a": "client", "b": "", "plain": "", "init": "", "side": ""}),
        (
            "a=in-process, out-of-process",
            {"a": "provision", "b": "client", "plain": "", "init": "client", "side": "client"},
        ),
        (" a = none ,*= out-of-process ", {"a": "", "b": "client", "plain": "", "init": "client", "side": "client"}),
        ("plain=out-of-process", {"a": "", "b": "", "plain": "client", "init": "", "side": ""}),
        ("plain=in-process", {"a": "", "b": "", "plain": "", "init": "", "side": ""}),
        ("side=in-process,init=out-of-process", {"a": "", "b": "", "plain": "", "init": "client", "side": "provision"}),
        ("a=nonsense,b=out-of-process", {"a": "", "b": "client", "plain": "", "init": "", "side": ""}),
        ("", {"a": "", "b": "", "plain": "", "init": "", "side": ""}),
    ],
)
def test_our_annotation_says_for_each_container(value: str, expected: dict[str, str]) -> None:
    raw = pod(
        *(sgx("a"), sgx("b"), container("plain")),
        annotations={QUOTING: value},
        initContainers=[sgx("init"), sgx("side", **SIDECAR)],
    )
    assert roles(admitted(raw)) == expected


def test_every_container_with_epc_gets_the_enclave_device_without_opting_in() -> None:
    result = admitted(pod(sgx(), container("plain"), initContainers=[sgx("init")]))
    assert container_of(result, "app")["resources"]["limits"] == {EPC: "10Mi", ENCLAVE: "1"}
    assert container_of(result, "init")["resources"]["limits"] == {EPC: "10Mi", ENCLAVE: "1"}
    assert roles(result) == {"app": "", "plain": "", "init": ""}
    assert "volumes" not in result["spec"]


def test_ephemeral_containers_are_left_alone() -> None:
    raw = pod(sgx(), annotations={QUOTING: "out-of-process"}, ephemeralContainers=[container("debugger")])
    assert container_of(admitted(raw), "debugger") == container("debugger")


def test_the_label_of_a_namespace_opts_its_containers_with_epc_in() -> None:
    assert roles(admitted(pod(sgx(), container("plain")), by_namespace=True)) == {"app": "client", "plain": ""}


def test_a_pod_can_opt_out_of_its_namespaces_label() -> None:
    assert roles(admitted(pod(sgx(), annotations={QUOTING: "none"}), by_namespace=True)) == {"app": ""}


def test_an_annotation_that_says_nothing_decides_all_the_same() -> None:
    raw = pod(sgx(), annotations={QUOTING: "", PROVIDER: "aesmd"})
    assert roles(admitted(raw, by_namespace=True)) == {"app": ""}


def test_intels_annotation_with_a_containers_name_gives_it_provision_and_no_socket() -> None:
    result = admitted(pod(sgx("quoting"), sgx("other"), annotations={PROVIDER: "quoting"}))
    assert roles(result) == {"quoting": "provision", "other": ""}
    assert "volumes" not in result["spec"]


def test_intels_annotation_means_nothing_for_a_container_without_epc() -> None:
    assert roles(admitted(pod(container("quoting"), annotations={PROVIDER: "quoting"}))) == {"quoting": ""}


def test_intels_aesmd_connects_every_container_with_epc_to_the_node() -> None:
    result = admitted(pod(sgx(), container("plain"), initContainers=[sgx("init")], annotations={PROVIDER: "aesmd"}))
    assert roles(result) == {"app": "client", "plain": "", "init": "client"}
    assert result["spec"]["volumes"] == [VOLUME]


def test_an_aesmd_sidecar_gets_provision_and_a_socket_of_the_pods_own() -> None:
    result = admitted(pod(sgx(), sgx("aesmd"), annotations={PROVIDER: "aesmd"}))
    assert roles(result) == {"app": "client", "aesmd": "provision"}
    assert result["spec"]["volumes"] == [{"name": "quotehelper-aesmd", "emptyDir": {"medium": "Memory"}}]


def test_the_provider_itself_writes_its_directory_and_does_not_ask_itself() -> None:
    aesmd = container_of(admitted(pod(sgx(), sgx("aesmd"), annotations={PROVIDER: "aesmd"})), "aesmd")
    assert aesmd["volumeMounts"] == [{"name": "quotehelper-aesmd", "mountPath": "/var/run/aesmd"}]
    assert "env" not in aesmd


def test_an_aesmd_sidecar_that_forgot_its_epc_is_still_the_pods_provider() -> None:
    raw = pod(sgx(), container("aesmd"), annotations={PROVIDER: "aesmd"})
    assert admitted(raw)["spec"]["volumes"] == [{"name": "quotehelper-aesmd", "emptyDir": {"medium": "Memory"}}]
    assert kinds(judged(raw)) == ["no-epc"]


def test_a_native_sidecar_can_be_the_provider_and_a_plain_init_container_can_not() -> None:
    sidecar = pod(sgx(), initContainers=[sgx("aesmd", **SIDECAR)], annotations={PROVIDER: "aesmd"})
    assert roles(admitted(sidecar)) == {"app": "client", "aesmd": "provision"}
    plain = pod(sgx(), initContainers=[sgx("aesmd")], annotations={PROVIDER: "aesmd"})
    assert roles(admitted(plain)) == {"app": "client", "aesmd": "client"}


def test_a_lone_aesmd_is_the_nodes_provider_and_makes_the_directory() -> None:
    result = admitted(pod(sgx("aesmd"), annotations={PROVIDER: "aesmd"}))
    assert roles(result) == {"aesmd": "provision"}
    assert result["spec"]["volumes"][0]["hostPath"] == {"path": "/var/run/aesmd", "type": "DirectoryOrCreate"}


def test_our_annotation_holds_where_both_are_given() -> None:
    raw = pod(sgx(), annotations={QUOTING: "out-of-process", PROVIDER: "app"})
    assert roles(admitted(raw)) == {"app": "client"}
    assert kinds(judged(raw)) == ["two-annotations"]


def test_the_image_of_a_static_pod_is_left_alone() -> None:
    raw = pod(sgx(), annotations={QUOTING: "out-of-process", "kubernetes.io/config.mirror": "x"})
    assert admitted(raw) == raw


def test_provision_is_never_given_out_of_process() -> None:
    for chosen in ({QUOTING: "out-of-process"}, {PROVIDER: "aesmd"}):
        limits = container_of(admitted(pod(sgx(), annotations=chosen)), "app")["resources"]["limits"]
        assert PROVISION not in limits


def test_a_runtime_that_starts_virtual_machines_is_told_the_sum_of_epc() -> None:
    raw = pod(sgx("a", "1Mi"), sgx("b", "2Mi"), initContainers=[sgx("init", "8Mi")], runtimeClassName="kata")
    assert admitted(raw)["metadata"]["annotations"] == {EPC: "3Mi"}
    raw["metadata"]["annotations"] = {EPC: "1Mi", "x": "y"}
    assert admitted(raw)["metadata"]["annotations"] == {EPC: "3Mi", "x": "y"}
