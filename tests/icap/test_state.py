"""The state tables are closed: every state has its row, every target exists, every state and row is used."""

from __future__ import annotations

import itertools

import pytest

from icapd.errors import LocalProtocolError
from icapd.icap import CodecLimits, Connection
from icapd.icap.state import CLIENT, SERVER, ClientState, ServerState, Step

Sides = tuple[ClientState, ServerState]

STEPS_OF_THE_CLIENT_ALONE = {Step.DATA, Step.PREVIEW_ENDS, Step.MESSAGE_ENDS, Step.CLIENT_CLOSES}
START: Sides = (ClientState.IDLE, ServerState.IDLE)


def possible_steps(sides: Sides) -> dict[Step, Sides]:
    """What may happen here, and where it leads."""
    client, server = sides
    result: dict[Step, Sides] = {}
    for step, next_client in CLIENT[client].items():
        if step in STEPS_OF_THE_CLIENT_ALONE:
            result[step] = next_client, server
        elif step in SERVER[server]:
            result[step] = next_client, SERVER[server][step]
    return result


def all_reachable() -> dict[Sides, dict[Step, Sides]]:
    """Every pair of states that one cycle can come to, with its steps."""
    found: dict[Sides, dict[Step, Sides]] = {}
    pending = [START]
    while pending:
        sides = pending.pop()
        if sides not in found:
            found[sides] = possible_steps(sides)
            pending += found[sides].values()
    return found


REACHABLE = all_reachable()


def test_every_state_has_a_row() -> None:
    assert set(CLIENT) == set(ClientState)
    assert set(SERVER) == set(ServerState)


def test_rows_name_steps_and_lead_to_states_of_their_side() -> None:
    for client_row in CLIENT.values():
        assert {type(step) for step in client_row} <= {Step}
        assert {type(target) for target in client_row.values()} <= {ClientState}
    for server_row in SERVER.values():
        assert {type(step) for step in server_row} <= {Step}
        assert {type(target) for target in server_row.values()} <= {ServerState}


def test_every_state_is_reachable() -> None:
    assert {client for client, _ in REACHABLE} == set(ClientState)
    assert {server for _, server in REACHABLE} == set(ServerState)


def test_every_row_is_used() -> None:
    taken = [(sides, step) for sides, steps in REACHABLE.items() for step in steps]
    assert {(client, step) for (client, _), step in taken} == {
        (client, step) for client, row in CLIENT.items() for step in row
    }
    assert {(server, step) for (_, server), step in taken if step not in STEPS_OF_THE_CLIENT_ALONE} == {
        (server, step) for server, row in SERVER.items() for step in row
    }


def test_every_step_is_used() -> None:
    assert {step for row in CLIENT.values() for step in row} == set(Step)


def test_every_dead_end_is_a_closed_client_or_a_finished_cycle() -> None:
    for (client, server), steps in REACHABLE.items():
        if not steps:
            ended = server in {ServerState.DONE, ServerState.CLOSING}
            assert client is ClientState.CLOSED or (client in {ClientState.DONE, ClientState.BROKEN} and ended)


def test_an_owed_reply_can_be_given_wherever_the_client_is_still_there() -> None:
    for (client, server), steps in REACHABLE.items():
        if server is ServerState.OWES_REPLY and client is not ClientState.CLOSED:
            assert Step.LAST_REPLY_BEGINS in steps
            assert (Step.REPLY_BEGINS in steps) is (client is not ClientState.BROKEN)


def test_a_begun_reply_can_be_finished_wherever_the_client_is_still_there() -> None:
    for (client, server), steps in REACHABLE.items():
        if server in {ServerState.STREAMING, ServerState.STREAMING_LAST} and client is not ClientState.CLOSED:
            assert {Step.REPLY_DATA, Step.REPLY_ENDS} <= set(steps)


def test_the_client_can_break_wherever_its_bytes_are_read() -> None:
    reading = set(ClientState) - {ClientState.PAUSED, ClientState.DONE, ClientState.CLOSED, ClientState.BROKEN}
    for (client, _), steps in REACHABLE.items():
        assert (Step.CLIENT_BREAKS in steps) is (client in reading)


@pytest.mark.parametrize("step", Step)
def test_a_step_without_a_row_is_a_local_error_and_moves_nothing(step: Step) -> None:
    for client, server in itertools.product(ClientState, ServerState):
        if step in CLIENT[client] and step in SERVER[server]:
            continue
        connection = Connection(CodecLimits())
        connection.client, connection.server = client, server
        with pytest.raises(LocalProtocolError):
            connection._step(step)
        assert (connection.client, connection.server) == (client, server)
