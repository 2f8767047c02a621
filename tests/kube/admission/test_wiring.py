from __future__ import annotations

from typing import Any

import pytest

from pods import QUOTING, admitted, container, pod, sgx

OUT = {QUOTING: "out-of-process"}
HOST = {"path": "/var/run/aesmd"}


def mounted(name: str, path: str = "/var/run/aesmd") -> dict[str, Any]:
    return {"name": name, "mountPath": path}


def test_a_volume_that_leads_to_the_directory_is_used_whatever_its_name() -> None:
    volumes = [{"name": "mine", "hostPath": {"path": "/var/run/aesmd/"}}]
    result = admitted(pod(sgx(), annotations=OUT, volumes=volumes))
    assert result["spec"]["volumes"] == volumes
    assert result["spec"]["containers"][0]["volumeMounts"] == [{**mounted("mine"), "readOnly": True}]


@pytest.mark.parametrize("path", ["/var/run/aesmd", "/var/run/aesmd/", "/run/aesmd", "//var//run/aesmd"])
def test_a_mount_at_the_directory_is_left_as_it_is(path: str) -> None:
    raw = pod(sgx(volumeMounts=[mounted("x", path)]), annotations=OUT, volumes=[{"name": "x", "hostPath": HOST}])
    result = admitted(raw)
    assert result["spec"]["volumes"] == raw["spec"]["volumes"]
    assert result["spec"]["containers"][0]["volumeMounts"] == [mounted("x", path)]


def test_no_volume_is_added_that_nobody_mounts() -> None:
    raw = pod(sgx(volumeMounts=[mounted("own")]), annotations=OUT, volumes=[{"name": "own", "emptyDir": {}}])
    assert admitted(raw)["spec"]["volumes"] == [{"name": "own", "emptyDir": {}}]


def test_a_volume_of_our_name_but_another_kind_is_not_taken_for_ours() -> None:
    taken: list[dict[str, Any]] = [{"name": "quotehelper-aesmd", "emptyDir": {}}, {"name": "quotehelper-aesmd-2"}]
    result = admitted(pod(sgx(), annotations=OUT, volumes=taken))
    assert result["spec"]["volumes"][2]["name"] == "quotehelper-aesmd-3"
    assert result["spec"]["containers"][0]["volumeMounts"][0]["name"] == "quotehelper-aesmd-3"


def test_a_variable_that_is_set_is_not_set_again() -> None:
    environment = [{"name": "SGX_AESM_ADDR", "value": "0"}, {"name": "B", "value": "2"}]
    assert admitted(pod(sgx(env=environment), annotations=OUT))["spec"]["containers"][0]["env"] == environment


def test_what_is_there_stays_in_front() -> None:
    app = sgx(env=[{"name": "B", "value": "2"}], volumeMounts=[mounted("data", "/data")])
    result = admitted(pod(app, annotations=OUT, volumes=[{"name": "data"}]))
    assert [variable["name"] for variable in result["spec"]["containers"][0]["env"]] == ["B", "SGX_AESM_ADDR"]
    assert [mount["name"] for mount in result["spec"]["containers"][0]["volumeMounts"]] == ["data", "quotehelper-aesmd"]
    assert [volume["name"] for volume in result["spec"]["volumes"]] == ["data", "quotehelper-aesmd"]


def test_several_containers_share_one_volume() -> None:
    result = admitted(pod(sgx("a"), sgx("b"), annotations=OUT))
    assert len(result["spec"]["volumes"]) == 1


def test_the_volume_of_an_aesmd_sidecar_is_used_for_its_clients() -> None:
    aesmd = sgx("aesmd", volumeMounts=[mounted("own")])
    raw = pod(sgx(), aesmd, annotations={"sgx.intel.com/quote-provider": "aesmd"}, volumes=[{"name": "own"}])
    result = admitted(raw)
    assert result["spec"]["volumes"] == [{"name": "own"}]
    assert result["spec"]["containers"][0]["volumeMounts"] == [{**mounted("own"), "readOnly": True}]


def test_null_is_as_good_as_absent() -> None:
    raw = pod(sgx(env=None, volumeMounts=None), annotations=OUT, volumes=None, initContainers=None)
    assert len(admitted(raw)["spec"]["volumes"]) == 1


def test_a_container_that_mounts_the_socket_file_gets_no_second_mount() -> None:
    app = sgx(volumeMounts=[mounted("sock", "/var/run/aesmd/aesm.socket")])
    raw = pod(app, container("plain"), annotations=OUT, volumes=[{"name": "sock", "hostPath": {"path": "/x"}}])
    assert admitted(raw)["spec"]["containers"][0]["volumeMounts"] == app["volumeMounts"]
