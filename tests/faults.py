"""What others lost or counted twice, as a table: each case, and the tests that show that it does not happen here.

Rows A are about the buffer at the site, B about sending and acknowledging, C about identities, windows and meaning. A row's
tests are `path::name` below `tests/`; a text instead says why it cannot happen here. `test_faults.py` checks it.
"""

LEDGER = "agent/ledger/test_ledger.py"
SHIPPER = "uplink/test_shipper.py"
APP = "uplink/receiver/test_app.py"

ROWS: dict[str, tuple[str, tuple[str, ...] | str]] = {
    "A1": ("acknowledged records are lost by a kill", ("model/test_ledger_model.py::TestLedgerAgainstModel",)),
    "A2": (
        "a source's offset goes on before its records are durable",
        (
            "collectors/asterisk_cdr/test_collect.py::test_a_restart_goes_on_behind_what_is_durable",
            "collectors/asterisk_cdr/test_collect.py::test_what_the_sink_did_not_take_comes_again",
            "model/test_ledger_model.py::TestLedgerAgainstModel",
        ),
    ),
    "A3": ("a second truth runs ahead of the data", ("model/test_ledger_model.py::TestLedgerAgainstModel",)),
    "A4": (
        "a damaged record is an endless loop",
        (
            f"{LEDGER}::test_a4_a9_an_unreadable_file_is_set_aside_untouched_and_a_new_epoch_begins",
            f"{SHIPPER}::test_a_ledger_that_is_damaged_sends_nothing_of_it",
        ),
    ),
    "A5": ("data goes before it is noted that it may", ("model/test_ledger_model.py::TestLedgerAgainstModel",)),
    "A6": (
        "a record that is too large is dropped and acknowledged",
        (f"{SHIPPER}::test_a6_an_event_that_is_too_large_is_quarantined_in_sight_and_blocks_nothing",),
    ),
    "A8": (
        "an event stays until the next one comes",
        ("uplink/test_schedule.py::test_a8_a_single_event_is_sent_by_the_timer_without_a_second_one",),
    ),
    "A9": (
        "a damaged file keeps the program from starting",
        (
            f"{LEDGER}::test_a4_a9_an_unreadable_file_is_set_aside_untouched_and_a_new_epoch_begins",
            f"{LEDGER}::test_an_empty_file_becomes_a_ledger",
            f"{APP}::test_a9_a_file_that_is_no_database_is_told_and_left_alone",
        ),
    ),
    "A10": (
        "what is not synced is lost by a power cut",
        (
            f"{LEDGER}::test_a10_commits_are_synced_to_the_disk",
            f"{APP}::test_a10_commits_are_on_the_disk_before_the_answer",
        ),
    ),
    "A14": (
        "at the limit the oldest goes, and nobody counts it",
        (f"{LEDGER}::test_at_its_size_limit_the_ledger_waits_but_still_acknowledges",),
    ),
    "A17": ("a log without sync", (f"{LEDGER}::test_a10_commits_are_synced_to_the_disk",)),
    "A18": (
        "a checkpoint of no bytes, or half a page, keeps it from starting",
        (
            f"{LEDGER}::test_an_empty_file_becomes_a_ledger",
            "collectors/asterisk_cdr/test_collect.py::test_a_checkpoint_of_another_version_means_reading_again",
        ),
    ),
    "B1": (
        "a stop empties the queue while the platform is down",
        (
            f"{SHIPPER}::test_b1_b7_a_stop_in_any_phase_loses_nothing_and_counts_nothing_twice",
            f"{SHIPPER}::test_b1_a_stop_while_the_platform_is_down_keeps_everything",
        ),
    ),
    "B2": (
        "after an outage of days the first hours are missing",
        (f"{SHIPPER}::test_b2_b15_an_outage_of_three_days_loses_nothing",),
    ),
    "B3": (
        "what was answered by 403 or 404 is dropped",
        (f"{SHIPPER}::test_b3_a_day_of_401_403_404_keeps_everything_and_says_so",),
    ),
    "B4": (
        "a name that does not resolve is for ever",
        (f"{SHIPPER}::test_b4_a_name_that_does_not_resolve_is_waited_for",),
    ),
    "B5": (
        "the source is told that all is well, and it was not",
        (
            f"{APP}::test_c1_a_store_that_fails_acknowledges_nothing_and_takes_the_retry",
            "agent/ledger/test_commit_notice.py::test_the_notice_comes_once_and_before_anything_is_durable",
            "collectors/asterisk_cdr/test_collect.py::test_what_the_sink_did_not_take_comes_again",
        ),
    ),
    "B6": (
        "a restart counts twice",
        (f"{SHIPPER}::test_b6_b8_a_crash_between_answer_and_commit_counts_nothing_twice",),
    ),
    "B7": (
        "storage is closed before those who use it",
        (
            f"{SHIPPER}::test_b1_b7_a_stop_in_any_phase_loses_nothing_and_counts_nothing_twice",
            f"{SHIPPER}::test_b7_a_stop_does_not_wait_for_ever_for_an_answer",
        ),
    ),
    "B8": (
        "the last piece is sent again after a restart",
        (f"{SHIPPER}::test_b6_b8_a_crash_between_answer_and_commit_counts_nothing_twice",),
    ),
    "B9": (
        "the same batch is sent again and again",
        (
            f"{SHIPPER}::test_b9_after_a_restart_at_most_one_batch_is_sent_again",
            "uplink/test_schedule.py::test_b9_a_back_off_that_was_stored_holds_after_a_restart_and_ends",
        ),
    ),
    "B10": (
        "a batch that is cut anew counts twice",
        (f"{APP}::test_b10_another_cut_of_the_same_events_is_recognised",),
    ),
    "B11": (
        "one bad event blocks all that follow",
        (
            f"{APP}::test_b11_a_bad_event_is_refused_alone_and_blocks_nothing",
            f"{SHIPPER}::test_b11_b14_one_bad_event_among_a_thousand_is_quarantined_and_the_rest_arrive",
        ),
    ),
    "B12": (
        "one bad event costs its whole batch",
        (
            f"{SHIPPER}::test_b12_a_batch_refused_for_one_event_is_bisected",
            "uplink/test_forwarder.py::test_bad_events_go_to_quarantine_alone_and_all_others_arrive",
        ),
    ),
    "B13": (
        "a checkpoint goes on although the platform refuses later",
        "which destinations acknowledge without having counted stands in docs/destinations.md; sums are compared there",
    ),
    "B14": (
        "one refused event drops a hundred",
        (
            f"{SHIPPER}::test_b11_b14_one_bad_event_among_a_thousand_is_quarantined_and_the_rest_arrive",
            "uplink/destinations/test_openmeter.py::test_one_event_that_it_refuses_does_not_cost_the_others",
        ),
    ),
    "B15": (
        "after hours of failure it is dropped",
        (f"{SHIPPER}::test_b2_b15_an_outage_of_three_days_loses_nothing",),
    ),
    "B16": (
        "rotated, cut and copied files are read twice or not at all",
        (
            "collectors/io/test_tail.py::test_rotation_by_rename_finishes_the_old_file_first",
            "collectors/io/test_tail.py::test_copytruncate_during_a_stop_whether_or_not_the_file_has_outgrown_the_offset",
            "collectors/io/test_tail.py::test_an_inode_that_is_used_again_is_not_taken_for_the_old_file",
            "collectors/io/test_tail.py::test_an_offset_beyond_the_end_means_another_file",
            "collectors/io/test_tail.py::test_equal_beginnings_of_two_generations_are_told_apart_by_what_stands_before_the_offset",
        ),
    ),
    "C1": (
        "an id is claimed before its event is stored",
        (f"{APP}::test_c1_a_store_that_fails_acknowledges_nothing_and_takes_the_retry",),
    ),
    "C2": (
        "each attempt makes a new id",
        (
            f"{LEDGER}::test_a_record_handed_in_again_changes_nothing_but_the_checkpoint",
            "uplink/destinations/test_openmeter.py::test_a_lost_answer_is_asked_again_with_the_same_ids",
        ),
    ),
    "C3": ("no identifier, billed twice", (f"{LEDGER}::test_all_tables_are_strict",)),
    "C4": (
        "a duplicate is taken for a failure",
        (
            f"{APP}::test_c4_a_duplicate_tells_the_refusals_again",
            f"{SHIPPER}::test_c4_a_duplicate_is_a_success",
        ),
    ),
    "C5": (
        "two destinations get two identities",
        ("agent/ledger/test_feed.py::test_each_destination_reads_everything_once_whatever_the_others_do",),
    ),
    "C6": (
        "events of a site that was offline for long are refused",
        (f"{APP}::test_c6_events_of_two_months_ago_are_counted_and_called_late",),
    ),
    "C7": (
        "a watermark sticks and each run counts again",
        ("uplink/receiver/test_booking.py::test_c7_a_batch_that_fails_leaves_neither_rows_nor_watermark",),
    ),
    "C8": (
        "the status of single records is passed over",
        ("uplink/test_forwarder.py::test_what_a_destination_names_as_refused_is_not_sent_again",),
    ),
    "C9": (
        "an event without a time falls into the wrong period",
        ("uplink/receiver/test_screen.py::test_c9_an_event_without_a_time_is_refused_never_given_the_receivers",),
    ),
    "C10": (
        "a counter that goes on is sent as an amount",
        "no event holds a running counter: each quantity is an amount of its own, and `catalogue.py` has its unit",
    ),
    "C11": (
        "what is sent again unchanged counts again",
        (
            f"{APP}::test_b10_another_cut_of_the_same_events_is_recognised",
            f"{SHIPPER}::test_c4_a_duplicate_is_a_success",
        ),
    ),
    "C12": (
        "a clock that is wrong by a day goes unnoticed",
        (
            f"{APP}::test_c12_a_clock_that_is_wrong_is_noted_and_changes_nothing",
            "uplink/test_backoff.py::test_c12_a_date_is_measured_by_the_answers_own_clock",
            "uplink/test_backoff.py::test_c12_a_time_from_a_clock_that_was_wrong_does_not_silence_a_site",
            "uplink/test_schedule.py::test_c12_a_clock_that_is_set_back_a_day_does_not_silence_the_site_for_a_day",
        ),
    ),
    "C13": (
        "duplicates lie in the store until somebody cleans up",
        ("uplink/receiver/test_booking.py::test_each_id_is_counted_once_and_totals_are_the_sum_of_what_is_counted",),
    ),
    "C14": (
        "a clone or a restored machine has the same numbers with other content",
        (
            f"{APP}::test_c14_other_content_under_known_numbers_is_a_conflict",
            f"{APP}::test_c14_a_heartbeat_of_a_ledger_that_went_back_is_a_conflict",
            f"{SHIPPER}::test_c14_a_clone_begins_a_new_epoch_and_all_of_both_arrives",
            f"{SHIPPER}::test_c14_a_site_restored_from_a_snapshot_counts_nothing_twice",
            f"{SHIPPER}::test_c14_an_idle_site_restored_from_a_snapshot_is_noticed_by_its_heartbeat",
        ),
    ),
}
