import socket

from devops_mcp.embedded.ports import LOOPBACK, choose_ports, free_port, is_free


def test_a_free_port_is_taken_as_wanted():
    wanted = free_port()

    assert choose_ports({"rest": wanted}) == {"rest": wanted}


def test_a_busy_port_is_replaced_by_a_free_one():
    with socket.create_server((LOOPBACK, 0)) as busy:
        port = busy.getsockname()[1]

        chosen = choose_ports({"rest": port})["rest"]

    assert chosen != port
    assert is_free(chosen)


def test_two_programs_that_want_the_same_port_get_two():
    wanted = free_port()

    chosen = choose_ports({"rest": wanted, "mcp": wanted})

    assert chosen["rest"] == wanted
    assert chosen["mcp"] != wanted


def test_a_replacement_never_takes_the_port_another_wants():
    wanted = free_port()

    chosen = choose_ports({"any": 0, "fixed": wanted})

    assert chosen["fixed"] == wanted
