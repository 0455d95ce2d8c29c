"""Where each of the 53 facts of the wire that a correct ICAP server honours is proved.

What the codec decides is proved beside this file, what needs the server in tests/net.
"""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

CODEC = "tests/conformance/test_wire_facts.py::"
NET = "tests/net/test_points.py::"

PROOFS: dict[int, tuple[str, ...]] = {
    1: (CODEC + "test_point_01_encapsulated_decides_everything",),
    2: (CODEC + "test_point_02_all_header_sections_are_optional",),
    3: (CODEC + "test_point_03_offsets_are_trusted_then_checked",),
    4: (CODEC + "test_point_04_options_with_and_without_encapsulated",),
    5: (CODEC + "test_point_05_a_chunk_is_streamed_not_gathered",),
    6: (CODEC + "test_point_06_unknown_chunk_extensions_are_ignored",),
    7: (CODEC + "test_point_07_trailers_are_read_and_returned",),
    8: (CODEC + "test_point_08_no_icap_trailer_is_ever_sent",),
    9: (CODEC + "test_point_09_chunk_sizes_are_capped_hexadecimal_digits",),
    10: (CODEC + "test_point_10_folding_is_taken_and_bad_bytes_are_not",),
    11: (CODEC + "test_point_11_nothing_follows_a_reply",),
    12: (NET + "test_point_12_reply_heads_stay_small",),
    13: (CODEC + "test_point_13_a_preview_ends_with_a_zero_chunk",),
    14: (CODEC + "test_point_14_no_100_after_ieof",),
    15: (CODEC + "test_point_15_100_once_and_only_after_a_preview",),
    16: (CODEC + "test_point_16_preview_0_with_and_without_a_body",),
    17: (CODEC + "test_point_17_after_100_only_the_remainder_comes",),
    18: (CODEC + "test_point_18_a_final_reply_to_a_preview_leaves_nothing_to_drain",),
    19: (NET + "test_point_19_options_offer_preview_with_transfer_preview",),
    20: (CODEC + "test_point_20_a_client_may_preview_more_than_asked",),
    21: (CODEC + "test_point_21_204_needs_permission", NET + "test_point_21_without_permission_the_body_is_echoed"),
    22: (CODEC + "test_point_22_allow_is_a_list",),
    23: (CODEC + "test_point_23_206_is_understood_and_never_spoken", NET + "test_point_23_options_do_not_offer_206"),
    24: (
        CODEC + "test_point_24_a_respmod_reply_never_holds_a_request",
        NET + "test_point_24_every_200_holds_the_sections_squid_wants",
    ),
    25: (CODEC + "test_point_25_an_echo_is_the_very_bytes", NET + "test_point_25_an_echo_is_byte_exact"),
    26: (NET + "test_point_26_block_pages_are_not_stored_and_have_their_own_length",),
    27: (NET + "test_point_27_unscannable_is_never_an_icap_error",),
    28: (
        CODEC + "test_point_28_errors_are_bare_and_close",
        NET + "test_point_28_404_405_408_503_are_answered_with_an_istag",
    ),
    29: (
        CODEC + "test_point_29_the_rest_behind_an_early_reply_is_dropped_within_a_bound",
        NET + "test_point_29_the_server_reads_while_it_writes",
    ),
    30: (
        CODEC + "test_point_30_every_final_reply_has_its_istag",
        NET + "test_point_30_one_istag_for_all_replies_and_processes",
    ),
    31: (NET + "test_point_31_options_are_complete",),
    32: (NET + "test_point_32_options_have_no_date",),
    33: (NET + "test_point_33_max_connections_is_generous_or_absent",),
    34: (CODEC + "test_point_34_service_uris_of_every_shape", NET + "test_point_34_query_arguments_are_ignored"),
    35: (NET + "test_point_35_one_uri_for_one_method_or_for_both",),
    36: (CODEC + "test_point_36_bytes_past_the_end_are_the_next_request",),
    37: (
        CODEC + "test_point_37_close_is_announced",
        NET + "test_point_37_idle_connections_are_closed_gracefully",
    ),
    38: (
        CODEC + "test_point_38_an_abandoned_request_is_an_event_not_a_fault",
        NET + "test_point_38_an_abandoned_request_frees_its_spool_and_engines",
    ),
    39: (NET + "test_point_39_every_phase_has_its_timeout",),
    40: (
        CODEC + "test_point_40_nothing_of_a_request_outlives_it",
        NET + "test_point_40_requests_of_one_connection_share_nothing",
    ),
    41: (NET + "test_point_41_credentials_are_neither_logged_nor_returned",),
    42: (NET + "test_point_42_via_is_appended_to_what_is_modified",),
    43: (CODEC + "test_point_43_unusual_http_heads_pass",),
    44: (CODEC + "test_point_44_www_authenticate_passes_untouched",),
    45: (
        CODEC + "test_point_45_respmod_without_a_request_head",
        NET + "test_point_45_url_rules_without_a_request_head",
    ),
    46: (NET + "test_point_46_x_infection_found_has_the_form_rspamd_reads",),
    47: (NET + "test_point_47_clean_replies_have_no_infection_headers",),
    48: (NET + "test_point_48_x_infection_found_and_x_virus_name_on_every_block",),
    49: (NET + "test_point_49_threat_names_are_sanitised",),
    50: (NET + "test_point_50_identity_headers_are_read_as_configured",),
    51: (NET + "test_point_51_icaps_is_left_to_a_proxy_in_front",),
    52: (
        CODEC + "test_point_52_a_half_closed_client_gets_its_answer",
        NET + "test_point_52_closing_does_not_destroy_the_reply",
    ),
    53: (
        CODEC + "test_point_53_what_one_request_did_to_c_icap",
        NET + "test_point_53_errors_have_an_istag_and_idle_clients_block_nobody",
        "tests/policy/test_page.py::test_markup_in_any_text_is_shown_not_run",
    ),
}

ROOT = Path(__file__).parents[2]


@lru_cache
def functions_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_fact_has_its_proof() -> None:
    assert list(PROOFS) == list(range(1, 54))
    assert all(PROOFS.values())


def test_every_proof_in_a_file_that_exists_is_there() -> None:
    for name in (name for names in PROOFS.values() for name in names):
        file, _, test = name.partition("::")
        assert not (ROOT / file).exists() or test in functions_in(file), name


def test_numbers_in_names_are_those_of_the_facts() -> None:
    for number, names in PROOFS.items():
        for name in names:
            numbered = re.search("::test_point_([0-9]{2})_", name)
            assert numbered is None or int(numbered[1]) == number


def test_every_test_of_a_fact_is_listed() -> None:
    listed = {name for names in PROOFS.values() for name in names}
    for file in (CODEC, NET):
        path = file.removesuffix("::")
        if (ROOT / path).exists():
            found = {file + name for name in functions_in(path) if name.startswith("test_point_")}
            assert found == {name for name in listed if name.startswith(file)}
