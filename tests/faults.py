"""What others lost or counted twice, as a table: each case, and the tests that show that it does not happen here.

Rows A are about the buffer at the site, B about sending and acknowledging, C about identities, windows and meaning. At least
one test of a row bears its name. `test_faults.py` checks that they are there.
"""

ROWS: dict[str, tuple[str, tuple[str, ...]]] = {
    "A1": (
        "acknowledged records are lost by a kill",
        (
            "test_a1_a_process_that_is_killed_as_it_syncs_has_all_that_it_acknowledged",
            "test_a1_a_process_that_is_killed_as_it_makes_its_ledger_starts_again",
            "test_a1_a10_what_the_disk_did_not_sync_is_not_acknowledged_and_comes_when_it_does",
            "TestA2A3A5LedgerAgainstModel",
        ),
    ),
    "A2": (
        "a source's offset goes on before its records are durable",
        (
            "test_a2_a_restart_goes_on_behind_what_is_durable",
            "test_a2_b5_what_the_sink_did_not_take_comes_again",
            "TestA2A3A5LedgerAgainstModel",
        ),
    ),
    "A3": ("a second truth runs ahead of the data", ("TestA2A3A5LedgerAgainstModel",)),
    "A4": (
        "a damaged record is an endless loop",
        (
            "test_a4_a9_an_unreadable_file_is_set_aside_untouched_and_a_new_epoch_begins",
            "test_a4_a18_a_ledger_that_is_damaged_while_it_is_in_use_ends_the_agent_and_the_next_start_sets_it_aside",
            "test_a4_a18_a_ledger_that_is_damaged_where_a_start_reads_it_does_not_keep_the_agent_from_starting",
            "test_a4_a_mark_on_a_ledger_that_is_whole_changes_nothing",
            "test_a_ledger_that_is_damaged_sends_nothing_of_it",
        ),
    ),
    "A5": ("data goes before it is noted that it may", ("TestA2A3A5LedgerAgainstModel",)),
    "A6": (
        "a record that is too large is dropped and acknowledged",
        ("test_a6_an_event_that_is_too_large_is_quarantined_in_sight_and_blocks_nothing",),
    ),
    "A7": (
        "after a restart what waits is never sent, or keeps the program from starting",
        ("test_a7_a_ledger_at_its_limit_starts_and_drains",),
    ),
    "A8": (
        "an event stays until the next one comes",
        ("test_a8_a_single_event_is_sent_by_the_timer_without_a_second_one",),
    ),
    "A9": (
        "a damaged file keeps the program from starting",
        (
            "test_a4_a9_an_unreadable_file_is_set_aside_untouched_and_a_new_epoch_begins",
            "test_an_empty_file_becomes_a_ledger",
            "test_a9_a_file_that_is_no_database_is_told_and_left_alone",
        ),
    ),
    "A10": (
        "what is not synced is lost by a power cut",
        (
            "test_a10_a17_commits_are_synced_to_the_disk",
            "test_a1_a10_what_the_disk_did_not_sync_is_not_acknowledged_and_comes_when_it_does",
            "test_a10_commits_are_on_the_disk_before_the_answer",
        ),
    ),
    "A11": (
        "on a full disk nothing can even be deleted",
        (
            "test_a11_a12_a13_on_a_full_disk_acknowledging_and_pruning_work_and_with_room_intake_goes_on",
            "test_a11_a_start_on_a_full_disk_takes_nothing_in_until_there_is_room",
        ),
    ),
    "A12": (
        "after a full disk it takes a restart to go on",
        (
            "test_a11_a12_a13_on_a_full_disk_acknowledging_and_pruning_work_and_with_room_intake_goes_on",
            "test_a_full_disk_stops_intake_loses_nothing_and_goes_on_by_itself",
        ),
    ),
    "A13": (
        "on a full disk the process is killed through its mapped memory",
        ("test_a11_a12_a13_on_a_full_disk_acknowledging_and_pruning_work_and_with_room_intake_goes_on",),
    ),
    "A14": (
        "at the limit the oldest goes, and nobody counts it",
        ("test_a14_at_its_size_limit_the_ledger_waits_drops_nothing_and_still_acknowledges",),
    ),
    "A15": (
        "the process lives, and nothing is done any more",
        ("test_a15_a_ledger_that_does_nothing_any_more_keeps_the_watchdog_silent",),
    ),
    "A16": (
        "no descriptor is left",
        ("test_a16_without_a_descriptor_to_spare_records_are_kept_and_acknowledged",),
    ),
    "A17": ("a log without sync", ("test_a10_a17_commits_are_synced_to_the_disk",)),
    "A18": (
        "a checkpoint of no bytes, or half a page, keeps it from starting",
        (
            "test_an_empty_file_becomes_a_ledger",
            "test_a4_a18_a_ledger_that_is_damaged_while_it_is_in_use_ends_the_agent_and_the_next_start_sets_it_aside",
            "test_a4_a18_a_ledger_that_is_damaged_where_a_start_reads_it_does_not_keep_the_agent_from_starting",
            "test_a_checkpoint_of_another_version_means_reading_again",
        ),
    ),
    "A19": (
        "a later version reads only the beginning of what an earlier one wrote",
        (
            "test_a19_a_ledger_of_an_earlier_version_is_kept_and_goes_on",
            "test_a19_a_checkpoint_of_another_version_costs_no_call",
        ),
    ),
    "A20": (
        "a start with a wrong configuration deletes what waits",
        ("test_a20_run_with_a_wrong_file_ends_with_78_and_leaves_the_ledger_alone",),
    ),
    "A21": (
        "a restart forgets how much is held already",
        ("test_a21_the_size_limit_holds_for_what_a_restart_finds",),
    ),
    "B1": (
        "a stop empties the queue while the platform is down",
        (
            "test_b1_b7_a_stop_in_any_phase_loses_nothing_and_counts_nothing_twice",
            "test_b1_a_stop_while_the_platform_is_down_keeps_everything",
        ),
    ),
    "B2": (
        "after an outage of days the first hours are missing",
        (
            "test_b2_b15_an_outage_of_three_days_loses_nothing",
            "test_b2_b15_an_outage_of_three_days_loses_no_hour_though_records_are_kept_for_one",
        ),
    ),
    "B3": (
        "what was answered by 403 or 404 is dropped",
        ("test_b3_a_day_of_401_403_404_keeps_everything_and_says_so",),
    ),
    "B4": (
        "a name that does not resolve is for ever",
        ("test_b4_a_name_that_does_not_resolve_is_waited_for_and_all_arrives",),
    ),
    "B5": (
        "the source is told that all is well, and it was not",
        (
            "test_c1_a_store_that_fails_acknowledges_nothing_and_takes_the_retry",
            "test_the_notice_comes_once_and_before_anything_is_durable",
            "test_a2_b5_what_the_sink_did_not_take_comes_again",
        ),
    ),
    "B6": (
        "a restart counts twice",
        ("test_b6_b8_a_crash_between_answer_and_commit_counts_nothing_twice",),
    ),
    "B7": (
        "storage is closed before those who use it",
        (
            "test_b1_b7_a_stop_in_any_phase_loses_nothing_and_counts_nothing_twice",
            "test_b7_a_stop_does_not_wait_for_ever_for_an_answer",
        ),
    ),
    "B8": (
        "the last piece is sent again after a restart",
        ("test_b6_b8_a_crash_between_answer_and_commit_counts_nothing_twice",),
    ),
    "B9": (
        "the same batch is sent again and again",
        (
            "test_b9_after_a_restart_at_most_what_was_on_its_way_is_sent_again",
            "test_b9_a_back_off_that_was_stored_holds_after_a_restart_and_ends",
        ),
    ),
    "B10": (
        "a batch that is cut anew counts twice",
        (
            "test_b10_another_cut_of_the_same_events_is_recognised",
            "test_b10_a_request_that_is_cut_anew_after_a_lost_answer_counts_nothing_twice",
        ),
    ),
    "B11": (
        "one bad event blocks all that follow",
        (
            "test_b11_a_bad_event_is_refused_alone_and_blocks_nothing",
            "test_b11_b14_one_bad_event_among_a_thousand_is_quarantined_and_the_rest_arrive",
            "test_b11_b12_b14_one_bad_event_among_many_is_put_aside_alone",
        ),
    ),
    "B12": (
        "one bad event costs its whole batch",
        (
            "test_b12_a_batch_refused_for_one_event_is_bisected",
            "test_bad_events_go_to_quarantine_alone_and_all_others_arrive",
            "test_b11_b12_b14_one_bad_event_among_many_is_put_aside_alone",
        ),
    ),
    "B13": (
        "a checkpoint goes on although the platform refuses later",
        (
            "test_b13_what_an_answer_is_worth_is_said_of_each_kind",
            "test_one_that_exists_since_it_was_executed_in_part_is_put_in_sight",
        ),
    ),
    "B14": (
        "one refused event drops a hundred",
        (
            "test_b11_b14_one_bad_event_among_a_thousand_is_quarantined_and_the_rest_arrive",
            "test_one_event_that_it_refuses_does_not_cost_the_others",
            "test_b11_b12_b14_one_bad_event_among_many_is_put_aside_alone",
        ),
    ),
    "B15": (
        "after hours of failure it is dropped",
        (
            "test_b2_b15_an_outage_of_three_days_loses_nothing",
            "test_b15_three_days_of_what_others_drop_for_lose_nothing",
        ),
    ),
    "B16": (
        "rotated, cut and copied files are read twice or not at all",
        (
            "test_b16_rotation_by_rename_finishes_the_old_file_first",
            "test_b16_copytruncate_during_a_stop_whether_or_not_the_file_has_outgrown_the_offset",
            "test_b16_an_inode_that_is_used_again_is_not_taken_for_the_old_file",
            "test_b16_an_offset_beyond_the_end_means_another_file",
            "test_b16_equal_beginnings_of_two_generations_are_told_apart_by_what_stands_before_the_offset",
        ),
    ),
    "C1": (
        "an id is claimed before its event is stored",
        ("test_c1_a_store_that_fails_acknowledges_nothing_and_takes_the_retry",),
    ),
    "C2": (
        "each attempt makes a new id",
        (
            "test_a_record_handed_in_again_changes_nothing_but_the_checkpoint",
            "test_a_lost_answer_is_asked_again_with_the_same_ids",
            "test_c2_c3_c5_c9_each_attempt_names_the_stored_id_and_time_and_nothing_else",
        ),
    ),
    "C3": (
        "no identifier, billed twice",
        (
            "test_all_tables_are_strict",
            "test_c2_c3_c5_c9_each_attempt_names_the_stored_id_and_time_and_nothing_else",
        ),
    ),
    "C4": (
        "a duplicate is taken for a failure",
        (
            "test_c4_a_duplicate_tells_the_refusals_again",
            "test_c4_c11_a_duplicate_is_a_success",
            "test_c4_that_it_is_known_is_success",
            "test_one_that_it_has_is_success_and_nothing_stalls",
        ),
    ),
    "C5": (
        "two destinations get two identities",
        (
            "test_each_destination_reads_everything_once_whatever_the_others_do",
            "test_each_gets_everything_once_under_one_id_though_one_is_down_and_the_agent_restarts",
            "test_c2_c3_c5_c9_each_attempt_names_the_stored_id_and_time_and_nothing_else",
        ),
    ),
    "C6": (
        "events of a site that was offline for long are refused",
        (
            "test_c6_events_of_two_months_ago_are_counted_and_called_late",
            "test_c6_a_site_that_was_offline_for_sixty_days_loses_no_event_out_of_sight",
        ),
    ),
    "C7": (
        "a watermark sticks and each run counts again",
        ("test_c7_a_batch_that_fails_leaves_neither_rows_nor_watermark",),
    ),
    "C8": (
        "the status of single records is passed over",
        (
            "test_what_a_destination_names_as_refused_is_not_sent_again",
            "test_c8_what_is_said_of_single_events_is_heeded",
        ),
    ),
    "C9": (
        "an event without a time falls into the wrong period",
        (
            "test_c9_an_event_without_a_time_is_refused_never_given_the_receivers",
            "test_c2_c3_c5_c9_each_attempt_names_the_stored_id_and_time_and_nothing_else",
        ),
    ),
    "C10": (
        "a counter that goes on is sent as an amount",
        ("test_c10_rtcp_tells_running_counts_of_octets_packets_and_loss_and_the_last_ones_hold",),
    ),
    "C11": (
        "what is sent again unchanged counts again",
        (
            "test_b10_another_cut_of_the_same_events_is_recognised",
            "test_c4_c11_a_duplicate_is_a_success",
        ),
    ),
    "C12": (
        "a clock that is wrong by a day goes unnoticed",
        (
            "test_c12_a_clock_that_is_wrong_is_noted_and_changes_nothing",
            "test_c12_a_machine_that_is_27_hours_off_says_so_and_loses_nothing",
            "test_c12_a_clock_that_is_put_right_ends_the_problem",
            "test_c12_with_stream_a_clock_that_is_set_back_does_not_hold_up_what_is_new",
            "test_c12_only_the_platforms_own_answers_tell_its_time",
            "test_c12_a_date_is_measured_by_the_answers_own_clock",
            "test_c12_a_time_from_a_clock_that_was_wrong_does_not_silence_a_site",
            "test_c12_a_clock_that_is_set_back_a_day_does_not_silence_the_site_for_a_day",
        ),
    ),
    "C13": (
        "duplicates lie in the store until somebody cleans up",
        ("test_c13_each_id_is_counted_once_and_totals_are_the_sum_of_what_is_counted",),
    ),
    "C14": (
        "a clone or a restored machine has the same numbers with other content",
        (
            "test_c14_other_content_under_known_numbers_is_a_conflict",
            "test_c14_a_heartbeat_of_a_ledger_that_went_back_is_a_conflict",
            "test_a_copied_disk_reports_in_an_epoch_of_its_own",
            "test_c14_a_clone_begins_a_new_epoch_and_all_of_both_arrives",
            "test_c14_a_site_restored_from_a_snapshot_counts_nothing_twice",
            "test_c14_an_idle_site_restored_from_a_snapshot_is_noticed_by_its_heartbeat",
        ),
    ),
}
