"""The mutants: one change each to the core or the stub that breaks the promise, and the tests that must notice it.

`scripts/mutants.py` makes them and runs their killers. A mutant's `old` stands exactly once in its file. What no test
can show (a fence whose absence one processor in a million shows), and what something else makes good within a moment, is
no mutant. Where a race is broken, `new` waits in the middle of it, so that it is met.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One change.

    Args:
        name: what is broken, in words with hyphens.
        file: the source, below the project's root.
        old: text that stands once in it.
        new: what takes its place.
        killers: pytest's names of the tests that must fail, at least one of them; below tests/.
    """

    name: str
    file: str
    old: str
    new: str
    killers: tuple[str, ...]


MUTANTS = (
    # ---- the gate, and who is let in ----
    Mutant(
        "handle-asks-nobody-whether-python-lives",
        "shim/core/dispatch.c",
        "NrStatus nrpy_handle(nrpy_instance *instance, NrStr name, uint64_t sid, const NrRequest *req, NrBytes payload) {\n"
        "    if (!nrpy_is_open(instance) || !nrpy_is_alive()) {",
        "NrStatus nrpy_handle(nrpy_instance *instance, NrStr name, uint64_t sid, const NrRequest *req, NrBytes payload) {\n"
        "    if (false) {",
        ("integration/test_exit.py::test_a_forked_child_is_refused_and_leaves", "faults/test_forks.py"),
    ),
    Mutant(
        "a-synchronous-call-passes-a-closed-gate",
        "shim/core/direct.c",
        "    if (__builtin_expect(!nrpy_is_open(instance), 0)) {\n        return leave_closed(",
        "    if (false) {\n        return leave_closed(",
        ("integration/test_shutdown.py::test_a_storm_meets_shutdown", "integration/test_async_unload.py"),
    ),
    Mutant(
        "a-send-does-not-ask-whether-the-host-is-gone",
        "shim/core/reply.c",
        "if (thread == NULL || atomic_load(&instance->host_gone)) {",
        "if (thread == NULL) {",
        (
            "integration/test_callback.py::test_kept_for_ever_ends_with_the_plugin",
            "integration/test_shutdown.py",
            "faults/test_unload_without_shutdown.py",
        ),
    ),
    Mutant(
        "two-streams-with-one-sid",
        "shim/core/dispatch.c",
        "        nrpy_registry_has_stream(&instance->registry, sid)) {",
        "        false) {",
        ("integration/test_bad_input.py::test_the_sid_of_an_open_stream_is_taken",),
    ),
    Mutant(
        "a-slot-keeps-its-generation",
        "shim/instances.c",
        "++taken->generation & 0x7fffu",
        "taken->generation & 0x7fffu",
        ("integration/test_bad_input.py", "integration/test_layouts.py", "integration/test_instances.py"),
    ),
    Mutant(
        "a-slot-keeps-its-instance",
        "shim/instances.c",
        "        atomic_store(&slot->instance, NULL);\n        if (must_stay != 0) {",
        "        if (must_stay != 0) {",
        ("integration/test_instances.py::test_an_ended_plugin_ctx_leads_to_nobody",),
    ),
    # ---- what a host passes in ----
    Mutant(
        "lengths-are-believed",
        "shim/core/views.h",
        "length <= PTRDIFF_MAX && (uintptr_t)ptr <= UINTPTR_MAX - length",
        "length > 0",
        ("integration/test_bad_input.py::test_views_that_cannot_be", "fuzz/test_corpus.py"),
    ),
    Mutant(
        "headers-are-not-looked-at",
        "shim/core/views.c",
        "        if (!nrpy_is_text(header->key) || !nrpy_can_hold_text(header->value)) {",
        "        if (header == NULL) {",
        ("integration/test_bad_input.py", "fuzz/test_corpus.py"),
    ),
    Mutant(
        "overlong-utf8-is-text",
        "shim/core/views.c",
        "uint8_t low = lead == 0xe0 ? 0xa0 : 0x80;",
        "uint8_t low = 0x80;",
        ("integration/test_bad_input.py::test_text_that_is_no_utf8",),
    ),
    Mutant(
        "the-last-byte-of-a-text-is-not-looked-at",
        "shim/core/views.h",
        "bits = nrpy_load8(text) | nrpy_load8(text + length - 8);",
        "bits = nrpy_load8(text) | nrpy_load8(text + length - 9);",
        ("integration/test_bad_input.py", "fuzz/test_corpus.py"),
    ),
    Mutant(
        "a-closed-stream-takes-input",
        "shim/core/inbox.c",
        "    if (exchange->input_closed || nrpy_exchange_has_ended(exchange)) {",
        "    if (nrpy_exchange_has_ended(exchange)) {",
        ("integration/test_duplex.py", "integration/test_duplex_objects.py", "integration/test_bad_input.py"),
    ),
    # ---- one reply, and only one ----
    Mutant(
        "each-reply-twice",
        "shim/core/running.h",
        "        nrpy_host_answer_reply(instance, sid, reply);\n    }\n    nrpy_running_end(thread);",
        "        nrpy_host_answer_reply(instance, sid, reply);\n"
        "        nrpy_host_answer(instance, sid, reply->status, reply->bytes, reply->length);\n    }\n"
        "    nrpy_running_end(thread);",
        ("integration/test_hello.py",),
    ),
    Mutant(
        "a-handler-does-not-see-that-close-has-answered",
        "shim/core/running.h",
        "bool is_contested = (contest ^ word) <= NRPY_STATE_MASK;",
        "bool is_contested = contest == 0;",
        ("integration/test_close_contests.py",),
    ),
    Mutant(
        "a-call-that-was-answered-is-answered-again",
        "shim/core/running.h",
        "    if (__builtin_expect(!is_claimed, 0)) {\n        if (reply->length",
        "    if (!is_claimed && instance == NULL) {\n        if (reply->length",
        ("integration/test_answers.py",),
    ),
    Mutant(
        "a-second-terminal-is-sent",
        "shim/core/sending.c",
        "    bool taken = (turn & NRPY_TURN_ENDED) == 0;",
        "    bool taken = true;",
        ("integration/test_callback.py::test_only_the_first_answer_counts", "integration/test_deadlines.py"),
    ),
    Mutant(
        "a-reply-leaves-on-a-thread-that-waits-for-another",
        "shim/core/reply.c",
        "    return frame == NULL || (frame->has_call && frame->instance == instance && frame->sid == sid);",
        "    return frame == NULL || frame->has_call || sid != 0 || instance != NULL;",
        (
            "integration/test_answers.py::test_a_running_call_is_answered_by_sid_from_a_synchronous_one",
            "integration/test_callback.py::test_answered_from_another_call",
        ),
    ),
    Mutant(
        "a-dropped-callback-says-nothing",
        "shim/core/callback.c",
        "    if (!exchange->is_stream && !nrpy_exchange_has_ended(exchange)) {\n        nrpy_exchange_send(exchange, NR_ERR, unanswered",
        "    if (exchange->sid == 0) {\n        nrpy_exchange_send(exchange, NR_ERR, unanswered",
        ("integration/test_callback.py::test_dropped",),
    ),
    Mutant(
        "every-failure-is-err",
        "shim/core/reply.c",
        "            reply->status = (NrStatus)status;\n            if (take_data",
        "            reply->status = NR_ERR;\n            if (take_data",
        ("integration/test_answers.py", "integration/test_promise.py", "integration/test_handlers.py"),
    ),
    Mutant(
        "backpressure-may-be-sent",
        "shim/core/status.c",
        "number >= (long)NR_OK && number <= (long)NR_STREAM_END",
        "number >= (long)NR_OK && number <= (long)NR_BACKPRESSURE",
        ("integration/test_answers.py::test_a_status_that_no_response_takes",),
    ),
    # ---- streams ----
    Mutant(
        "frames-of-two-threads-overtake-each-other",
        "shim/core/turn.c",
        "    return (atomic_fetch_or(&exchange->turn, NRPY_TURN_BUSY) & NRPY_TURN_BUSY) == 0;",
        "    return (atomic_fetch_or(&exchange->turn, NRPY_TURN_BUSY) & NRPY_TURN_BUSY) != 1u << 31;",
        ("integration/test_streams.py", "integration/test_duplex.py", "integration/test_duplex_objects.py"),
    ),
    Mutant(
        "a-frame-held-back-is-dropped",
        "shim/core/turn.c",
        "        if (delivery != NRPY_HELD_BACK) {\n            nrpy_frames_pop(frames);",
        "        if (frames->count > 0) {\n            nrpy_frames_pop(frames);",
        ("integration/test_backpressure.py::test_every_frame_comes_in_order",),
    ),
    Mutant(
        "a-frame-held-back-goes-to-the-end",
        "shim/core/turn.c",
        "        nrpy_frames_put_back(&exchange->outbox, &frames);\n        atomic_fetch_or(&exchange->turn, NRPY_TURN_MORE);",
        "        while (frames.count > 0) {\n            nrpy_frames_push(&exchange->outbox, nrpy_frames_pop(&frames));\n"
        "        }\n        atomic_fetch_or(&exchange->turn, NRPY_TURN_MORE);",
        ("integration/test_backpressure.py",),
    ),
    Mutant(
        "nobody-learns-that-there-is-room",
        "shim/core/turn.c",
        "    if (enough) {\n        nrpy_exchange_wake(exchange);\n    }",
        "    (void)enough;",
        ("integration/test_backpressure.py",),
    ),
    Mutant(
        "a-generator-is-not-closed",
        "shim/core/generator.c",
        "            close_generator(exchange, &source, generator);\n            return;",
        "            return;",
        ("integration/test_streams.py::test_what_a_generator_raises_after_its_end_is_logged",),
    ),
    Mutant(
        "frames-wait-for-a-generator-that-pauses",
        "shim/core/burst.c",
        "    return is_left(burst) && now_ns - burst->seen_ns >= LEFT_MAX_NS;",
        "    return is_left(burst) && now_ns < burst->seen_ns;",
        ("integration/test_bursts.py::test_frames_do_not_wait_for_a_generator_that_pauses",),
    ),
    Mutant(
        "a-frame-by-sid-passes-those-in-hand",
        "shim/core/callback.c",
        "    nrpy_burst_flush(exchange);\n",
        "",
        ("integration/test_bursts.py::test_frames_by_sid_keep_their_place",),
    ),
    Mutant(
        "a-buffer-is-sent-after-its-author-has-changed-it",
        "shim/core/burst.c",
        "reply->status != NR_OK || reply->view.obj != NULL",
        "reply->status != NR_OK",
        ("integration/test_bursts.py::test_a_buffer_is_sent_before_its_author_goes_on",),
    ),
    Mutant(
        "a-parked-generator-is-left-behind",
        "shim/core/room.c",
        "    bool parked = exchange->generator != NULL && !exchange->is_left;",
        "    bool parked = exchange->generator != NULL && exchange->is_left;",
        ("integration/test_backpressure.py::test_a_shutdown_ends_a_generator_that_no_worker_came_back_to",),
    ),
    Mutant(
        "a-close-does-not-end-a-generator",
        "shim/core/streams.c",
        "    } else if (atomic_exchange(&exchange->cancelled, 1) != 0) {",
        "    } else if (instance == NULL) {",
        ("integration/test_streams.py::test_an_unbounded_generator_is_closed_by_the_host",),
    ),
    Mutant(
        "input-has-no-limit",
        "shim/core/inbox.c",
        "    } else if (!is_close && exchange->inbox.count >= NRPY_INBOX_LIMIT) {",
        "    } else if (!is_close && exchange->inbox.count >= (NRPY_INBOX_LIMIT << 20)) {",
        ("integration/test_duplex.py::test_a_full_inbox_refuses_and_the_stream_lives_on",),
    ),
    Mutant(
        "state-stays-when-its-call-has-ended",
        "shim/core/reply.h",
        "    nrpy_state_drop(&instance->state, sid);\n    NrBytes payload",
        "    NrBytes payload",
        ("integration/test_state.py",),
    ),
    # ---- wakes ----
    Mutant(
        "a-worker-that-sleeps-is-not-woken",
        "shim/core/workers.h",
        "        nrpy_pool_wake_one(pool);\n    }\n}\n\n#endif",
        "        (void)pool;\n    }\n}\n\n#endif",
        ("integration/test_threads.py::test_a_call_wakes_a_process_that_sleeps",),
    ),
    Mutant(
        "a-queue-that-waits-gets-no-second-worker",
        "shim/core/workers.c",
        "    if (pool->count < pool->limit && !atomic_load(&pool->stopping)) {",
        "    if (pool->count < 1 && !atomic_load(&pool->stopping)) {",
        ("integration/test_answers.py", "integration/test_threads.py", "integration/test_promise.py"),
    ),
    Mutant(
        "an-event-loop-is-not-woken",
        "shim/core/loop.c",
        "    while (loop->wake_fd >= 0 && write(loop->wake_fd, &one, sizeof one) < 0 && errno == EINTR) {\n    }",
        "    (void)one;",
        ("integration/test_async.py::test_what_a_coroutine_gets_and_gives",),
    ),
    Mutant(
        "an-event-loop-sleeps-without-a-last-look",
        "shim/core/loop.c",
        "            if (atomic_exchange(&loop->armed, true)) {\n                loop->turn_left = 0;",
        "            usleep(100);\n            if (atomic_exchange(&loop->armed, true) || true) {\n"
        "                loop->turn_left = 0;",
        ("integration/test_async.py::test_one_call_at_a_time",),
    ),
    Mutant(
        "a-cancel-does-not-reach-its-task",
        "shim/core/runners.c",
        "    if (cancels > self->cancels) {",
        "    if (cancels > self->cancels + 1000) {",
        ("integration/test_deadlines.py", "integration/test_async_shutdown.py"),
    ),
    Mutant(
        "a-task-that-was-looked-at-serves-the-next-call",
        "shim/core/traces.c",
        "!nrpy_task_marks_of(runner->task)->is_seen && ",
        "",
        ("integration/test_async_tasks.py::test_nothing_is_left_for_the_next_call",),
    ),
    Mutant(
        "a-context-that-was-copied-serves-the-next-call",
        "shim/core/traces.c",
        " && Py_REFCNT(runner->variables) == OF_VARIABLES",
        "",
        ("integration/test_async_tasks.py::test_a_context_that_somebody_keeps",),
    ),
    Mutant(
        "a-task-without-a-call-is-not-done",
        "shim/core/task_type.c",
        "    if (nrpy_task_marks_of(task)->is_resting) {",
        "    if (false) {",
        ("integration/test_async_tasks.py::test_all_tasks_are_the_calls_that_wait",),
    ),
    Mutant(
        "a-reader-does-not-learn-of-the-end",
        "shim/core/sending.c",
        "    if (nrpy_exchange_is_terminal(exchange, status) && (exchange->takes_input || !direct)) {",
        "    if (exchange->sid == 0) {",
        ("integration/test_duplex_objects.py::test_an_end_from_another_thread_ends_the_reading",),
    ),
    # ---- deadlines and limits ----
    Mutant(
        "a-deadline-passes-in-silence",
        "shim/core/deadline.c",
        "    if (over || !due) {\n    } else",
        "    if (over || due || !due) {\n    } else",
        ("integration/test_deadlines.py::test_an_entry_s_own_limit_is_the_one",),
    ),
    Mutant(
        "a-deadline-is-kept-after-the-answer",
        "shim/core/deadline.c",
        "    exchange->deadlines_over = true;\n    bool disarmed = deadlines->armed_ns != 0 && nrpy_timer_disarm(&deadlines->timer);",
        "    bool disarmed = false;",
        ("integration/test_deadlines.py::test_a_handler_that_has_answered_goes_on",),
    ),
    Mutant(
        "frames-do-not-keep-a-stream-alive",
        "shim/core/turn.c",
        "    if (delivery == NRPY_DELIVERED) {\n        nrpy_deadlines_note_frame(exchange);\n    }\n",
        "",
        ("integration/test_stream_deadlines.py::test_frames_keep_a_stream_alive",),
    ),
    Mutant(
        "a-handler-is-not-told-of-its-deadline",
        "shim/core/sending.c",
        "send_by_outbox(exchange, NR_ERR, text, length, true);\n    nrpy_exchange_cancel(exchange);",
        "send_by_outbox(exchange, NR_ERR, text, length, true);",
        ("integration/test_deadlines.py::test_an_answer_at_the_deadline_and_none_after",),
    ),
    Mutant(
        "nobody-guards-the-timer",
        "shim/core/timer.c",
        "        if (firing && fired == seen && !nrpy_clock_is_manual()) {",
        "        if (firing && fired == seen && lead == 0) {",
        ("integration/test_deadlines.py::test_a_host_that_blocks_in_one_answer_delays_no_other",),
    ),
    Mutant(
        "one-more-than-max-pending",
        "shim/core/admission.c",
        "atomic_fetch_add(&entry->counters->pending, 1) >= limit) {",
        "atomic_fetch_add(&entry->counters->pending, 1) > limit) {",
        ("integration/test_limits.py::test_what_is_over_an_entry_s_limit_is_refused",),
    ),
    Mutant(
        "room-is-not-given-back",
        "shim/core/exchange.c",
        "        atomic_fetch_sub(&exchange->entry->counters->pending, 1);",
        "        (void)exchange;",
        ("integration/test_limits.py",),
    ),
    Mutant(
        "a-full-queue-takes-more",
        "shim/core/queue.c",
        "            return limited ? NRPY_QUEUE_FULL : push_overflow(queue, item);",
        "            return push_overflow(queue, item);",
        (
            "integration/test_limits.py",
            "integration/test_answers.py::test_a_full_queue_refuses_and_what_it_took_is_answered",
        ),
    ),
    # ---- the end of an instance ----
    Mutant(
        "what-is-queued-at-shutdown-is-forgotten",
        "shim/core/closing_calls.c",
        "    nrpy_item *item = nrpy_queue_close(queue);\n    while (item != NULL) {\n        nrpy_item *next = item->next;\n"
        "        nrpy_refuse_item(instance, item, shutting_down);",
        "    nrpy_item *item = nrpy_queue_close(queue);\n    while (item != NULL && instance != NULL) {\n        nrpy_item *next = item->next;",
        ("integration/test_shutdown.py::test_queued_calls_are_told_why",),
    ),
    Mutant(
        "what-runs-for-ever-is-not-answered",
        "shim/core/closing_calls.c",
        "    wait_for_handlers(run);\n    end_running(run);",
        "    wait_for_handlers(run);\n    (void)end_running;",
        ("integration/test_async_shutdown.py::test_a_coroutine_that_ignores_its_cancel",),
    ),
    Mutant(
        "shutdown-waits-for-no-handler",
        "shim/core/closing_calls.c",
        "    wait_for_handlers(run);\n    end_running(run);",
        "    (void)wait_for_handlers;\n    end_running(run);",
        ("integration/test_shutdown.py", "integration/test_async_shutdown.py"),
    ),
    Mutant(
        "shutdown-returns-with-a-send-in-the-host",
        "shim/core/closing.c",
        "    nrpy_closing_wait_for_sends(run);\n    sem_post(&run->sends_done);",
        "    sem_post(&run->sends_done);",
        ("integration/test_shutdown.py::test_shutdown_waits_for_a_thread_inside_send_result",),
    ),
    Mutant(
        "shutdown-inside-a-send-waits-for-itself",
        "shim/core/closing.c",
        "        count += visit->instance == instance;",
        "        count += visit->instance != instance;",
        ("integration/test_shutdown.py::test_shutdown_from_inside_send_result",),
    ),
    Mutant(
        "tasks-are-not-told-of-the-shutdown",
        "shim/core/closing_calls.c",
        "        nrpy_loop_cancel_all(&instance->loops[i]);",
        "        (void)instance;",
        ("integration/test_async_shutdown.py::test_a_thousand_coroutines_pending",),
    ),
    Mutant(
        "generators-set-aside-are-not-closed",
        "shim/core/closing.c",
        "        nrpy_closing_close_parked(instance);\n        run_shutdown_hooks(run);",
        "        run_shutdown_hooks(run);",
        ("integration/test_backpressure.py::test_a_shutdown_ends_a_generator_that_waits",),
    ),
    Mutant(
        "code-that-still-runs-is-unmapped",
        "shim/instances.c",
        "        if (must_stay != 0) {\n            pin_image();\n        }",
        "        (void)must_stay;\n        (void)pin_image;",
        ("integration/test_shutdown.py::test_a_host_thread_in_a_handler_that_ends_after_the_unload",),
    ),
    # ---- references and memory ----
    Mutant(
        "a-handler-is-never-let-go",
        "shim/core/handler.h",
        "    nrpy_author_returned(result);\n    Py_DECREF(handler);",
        "    nrpy_author_returned(result);",
        ("integration/test_unload.py::test_many_loads_in_one_process", "integration/test_async_unload.py"),
    ),
    Mutant(
        "an-argument-is-never-let-go",
        "shim/core/queued.c",
        "    Py_XDECREF(argument);\n    nrpy_running_count(entry, reply.status, began_ns, weight);",
        "    nrpy_running_count(entry, reply.status, began_ns, weight);",
        ("integration/test_large.py::test_memory_goes_back", "integration/test_mixed_load.py"),
    ),
    Mutant(
        "a-reply-is-never-let-go",
        "shim/core/queued.c",
        "    nrpy_worker_reattach(thread, state);\n    nrpy_reply_clear(reply);",
        "    nrpy_worker_reattach(thread, state);",
        ("integration/test_large.py::test_memory_goes_back", "integration/test_mixed_load.py"),
    ),
    Mutant(
        "a-kept-request-lies-in-the-host-s-memory",
        "shim/core/request.c",
        "    bool is_kept = Py_REFCNT(object) > 1;",
        "    bool is_kept = Py_REFCNT(object) > 1000;",
        ("integration/test_handlers.py::test_a_request_kept_after_its_call",),
    ),
    Mutant(
        "a-kept-body-lies-in-the-host-s-memory",
        "shim/core/body.c",
        "    if (__builtin_expect(Py_REFCNT(object) > 1, 0)) {",
        "    if (__builtin_expect(Py_REFCNT(object) > 1000, 0)) {",
        ("integration/test_borrow.py::test_what_is_kept_is_copied",),
    ),
    Mutant(
        "another-call-s-body-is-sent-from-where-it-lay",
        "shim/core/reply.c",
        "        reply->owner = nrpy_body_bytes(data); /* whose call may end before this is sent */\n"
        "        if (reply->owner == NULL) {",
        "        reply->bytes = ((nrpy_body *)data)->view.ptr;\n"
        "        reply->length = ((nrpy_body *)data)->view.len;\n"
        "        return 1;\n"
        "        if (reply->owner == NULL) {",
        ("integration/test_borrow.py::test_it_outlives_its_call_in_another_one_s_reply",),
    ),
    Mutant(
        "a-stream-goes-while-its-task-is-woken",
        "shim/core/stream_object.c",
        "    PyObject *done = wake_who_can_go_on((nrpy_stream *)object);\n    Py_DECREF(object);",
        "    PyObject *done = wake_who_can_go_on((nrpy_stream *)object);\n    Py_DECREF(object);\n    Py_DECREF(object);",
        ("integration/test_duplex_objects.py", "integration/test_mixed_load.py"),
    ),
    Mutant(
        "what-a-host-gives-back-is-never-let-go",
        "shim/core/owned.c",
        "        Py_DECREF(owned->object);\n        let_go(owned);",
        "        let_go(owned);",
        ("integration/test_v2.py::test_a_kept_object_lives_until_it_is_given_back", "integration/test_v2.py"),
    ),
    Mutant(
        "a-thread-state-is-never-deleted",
        "shim/core/threads.c",
        "        delete_state(state);\n    }\n    nrpy_block_flush",
        "        (void)delete_state;\n    }\n    nrpy_block_flush",
        (
            "integration/test_threads.py::test_local_data_is_freed_when_the_host_thread_ends",
            "integration/test_threads.py",
        ),
    ),
    Mutant(
        "a-loop-keeps-its-descriptor",
        "shim/core/loop.c",
        "        close(loop->wake_fd);\n    }\n    loop->wake_fd = -1;",
        "        (void)loop;\n    }\n    loop->wake_fd = -1;",
        ("integration/test_async.py::test_what_a_coroutine_gets_and_gives", "integration/test_async_unload.py"),
    ),
    Mutant(
        "modules-outlive-their-plugin",
        "shim/core/closing.c",
        "        nrpy_instance_unload(instance);\n        nrpy_detach(&attachment);",
        "        nrpy_detach(&attachment);",
        ("integration/test_unload.py",),
    ),
    # ---- threads, the process, and Python ----
    Mutant(
        "a-context-is-the-next-call-s-too",
        "shim/core/workers.c",
        "        nrpy_context_reset(thread->state);",
        "        (void)thread;",
        ("integration/test_threads.py::test_a_fresh_context_for_each_of_what_a_worker_finds_waiting",),
    ),
    Mutant(
        "our-threads-take-the-host-s-signals",
        "shim/core/threads.c",
        "    pthread_sigmask(SIG_SETMASK, &blocked, &before);",
        "    pthread_sigmask(SIG_SETMASK, NULL, &before);",
        ("integration/test_traps.py",),
    ),
    Mutant(
        "python-takes-sigint",
        "shim/core/runtime.c",
        "    if (is_default) {\n        (void)sigaction(SIGINT, &before, NULL);\n    }",
        "    (void)is_default;",
        ("integration/test_traps.py::test_our_threads_take_no_signal_and_the_host_s_keep_theirs",),
    ),
    Mutant(
        "recursion-is-made-for-a-full-stack",
        "shim/core/threads.c",
        "    int limit = (int)((python_share(thread) - LEAF_STACK) / RECURSION_UNIT);",
        "    int limit = (int)((python_share(thread) - LEAF_STACK) / 1);",
        ("integration/test_promise.py::test_a_deep_handler_on_any_stack", "integration/test_stacks.py"),
    ),
    Mutant(
        "python-runs-on-any-stack",
        "shim/core/threads.c",
        "thread->stack_size >= PYTHON_STACK ?",
        "thread->stack_size >= 1 ?",
        ("integration/test_threads.py", "integration/test_stacks.py"),
    ),
    Mutant(
        "threading-takes-whoever-imports-it-for-the-main-thread",
        "shim/core/main_thread.c",
        "    if (!nrpy_runtime_is_elsewhere()) {",
        "    if (true) {",
        ("integration/test_traps.py::test_python_s_main_thread_is_the_runtime_s",),
    ),
    Mutant(
        "who-waits-for-a-busy-main-thread-waits-for-ever",
        "shim/core/main_thread.c",
        "    if (nrpy_sem_wait_for(&asked->done, PATIENCE_S)) {",
        "    while (sem_wait(&asked->done) != 0) {\n    }\n    if (true) {",
        ("integration/test_main_thread.py::test_the_main_thread_is_busy_when_threading_is_imported",),
    ),
    Mutant(
        "a-finalizer-s-answer-leaves-before-the-call-s-own",
        "shim/core/direct.c",
        "    nrpy_close_attachment(&attachment);\n    bool is_claimed",
        "    thread->frames = frame.outer;\n    nrpy_close_attachment(&attachment);\n    bool is_claimed",
        ("integration/test_answers.py::test_what_a_call_leaves_behind_answers_another_one",),
    ),
    Mutant(
        "a-finalizer-of-a-reply-s-bytes-answers-inside-handle",
        "shim/core/direct.c",
        "        drop_reply(thread, &reply);\n    }\n    thread->frames",
        "        thread->frames = frame.outer;\n        drop_reply(thread, &reply);\n    }\n    thread->frames",
        ("integration/test_answers.py::test_what_a_call_leaves_behind_answers_another_one",),
    ),
    Mutant(
        "an-exchange-s-finalizers-answer-inside-handle",
        "shim/core/direct.c",
        "        nrpy_detach(&attachment); /* finalizers run */\n        thread->frames = frame.outer;",
        "        thread->frames = frame.outer;\n        nrpy_detach(&attachment);",
        ("integration/test_answers.py::test_what_a_call_leaves_behind_answers_another_one",),
    ),
    Mutant(
        "the-last-response-type-stands",
        "shim/core/reply.c",
        "    if (response_type == NULL) { /*",
        "    if (true) { /*",
        ("integration/test_answers.py::test_another_plugin_cannot_take_responses_away",),
    ),
    Mutant(
        "a-forked-child-calls-python",
        "shim/core/runtime.c",
        "    atomic_store(&nrpy_forked, true);\n    atomic_store(&nrpy_runtime_dead, true);",
        "    (void)nrpy_forked;",
        ("integration/test_exit.py", "faults/test_forks.py", "faults/test_fork_in_handlers.py"),
    ),
    Mutant(
        "nobody-stops-handlers-at-exit",
        "shim/core/runtime.c",
        "    nrpy_monitor_interrupt();\n    (void)nrpy_sem_wait_for(&exit_answered, EXIT_WAIT_S);",
        "    (void)exit_answered;",
        ("integration/test_exit.py::test_the_process_exits_with_handlers_at_work", "integration/test_async_exit.py"),
    ),
    # ---- the plugin's file ----
    Mutant(
        "a-payload-s-digest-is-not-compared",
        "shim/payload.c",
        "    if (memcmp(found, header->sha256, sizeof found) != 0) {",
        "    if (header == NULL) {",
        ("unit/test_payload.py", "integration/test_startup.py::test_a_damaged_payload"),
    ),
    Mutant(
        "a-part-may-leave-its-payload",
        "shim/payload.c",
        "offset < sizeof(nrpy_payload_header) || offset > total || size > total - offset",
        "offset < sizeof(nrpy_payload_header) || offset + size > total",
        ("unit/test_payload.py", "fuzz/test_corpus.py"),
    ),
    Mutant(
        "another-environment-s-plugin-is-taken",
        "shim/core/runtime.c",
        "    if (failed == 0 && !is_same_directory(running_prefix, args->prefix)) {",
        "    if (failed == 0 && running_prefix == NULL) {",
        ("integration/test_startup.py", "integration/test_guest.py"),
    ),
    # ---- who is trusted, and what steers ----
    Mutant(
        "an-unsigned-boot-record-is-followed",
        "shim/instances.c",
        "    if (getenv(NRPY_TRUSTED_KEYS) == NULL || nrpy_payload_is_signed(payload)) {",
        "    if (payload != NULL) {",
        ("integration/test_signatures.py",),
    ),
    Mutant(
        "any-signature-will-do",
        "shim/core/trust.c",
        "    bool taken = refusal == Py_None;",
        "    bool taken = refusal != NULL;",
        ("integration/test_signatures.py",),
    ),
    Mutant(
        "no-keys-are-no-check",
        "shim/core/trust.c",
        "    if (keys == NULL) {",
        "    if (keys == NULL || *keys == 0) {",
        ("integration/test_signatures.py",),
    ),
    Mutant(
        "any-key-is-trusted",
        "nylon_ring_py/_trust.py",
        "    if key not in keys:",
        "    if not key:",
        ("integration/test_signatures.py", "unit/test_sign.py"),
    ),
    Mutant(
        "the-stub-is-not-verified",
        "nylon_ring_py/build/sign.py",
        "    if _digest_without(image, start, end) != signature[:32]:",
        "    if not signature[:32]:",
        ("unit/test_sign.py",),
    ),
    Mutant(
        "the-stub-has-start-files",
        "setup.py",
        '"-nostartfiles", ',
        "",
        ("integration/test_security.py::test_nothing_in_the_file_runs_by_itself",),
    ),
    Mutant(
        "a-boot-record-s-path-is-relative",
        "shim/find_python.c",
        "        if (paths[i][0] != '/' && paths[i][0] != '\\0') {",
        "        if (paths[i] == NULL) {",
        ("integration/test_security.py::test_a_path_of_the_boot_record_does_not_hang_on_the_working_directory",),
    ),
    Mutant(
        "whoever-starts-a-host-chooses-its-python",
        "shim/find_python.c",
        "secure_getenv(name)",
        "getenv(name)",
        ("integration/test_security.py::test_who_starts_a_host_with_more_rights_chooses_no_python",),
    ),
    Mutant(
        "python-is-steered",
        "shim/core/runtime.c",
        "    drop_steering_variables();\n    PyPreConfig preconfig;",
        "    (void)drop_steering_variables;\n    PyPreConfig preconfig;",
        ("integration/test_traps.py::test_the_host_s_environment_steers_nothing",),
    ),
    Mutant(
        "the-python-that-is-asked-is-steered",
        "shim/find_python.c",
        'strncmp(environ[i], "PYTHON", 6) != 0 && ',
        "",
        ("integration/test_traps.py::test_the_host_s_environment_steers_nothing",),
    ),
    Mutant(
        "a-boot-record-has-a-key-twice",
        "shim/payload.c",
        "    if (nrpy_payload_get(payload, key) != value) {",
        "    if (nrpy_payload_get(payload, key) == NULL) {",
        ("unit/test_payload.py",),
    ),
    Mutant(
        "a-boot-record-s-value-is-cut-short",
        "shim/payload.c",
        " || strlen(value) > NRPY_BOOT_VALUE_MAX) {",
        ") {",
        ("unit/test_payload.py",),
    ),
    Mutant(
        "an-archive-leaves-its-folder",
        "nylon_ring_py/_archive.py",
        ' or ".." in parts',
        "",
        ("unit/test_archive.py", "integration/test_security.py::test_paths_that_init_refuses"),
    ),
    Mutant(
        "a-file-stands-before-the-sdk",
        "nylon_ring_py/_archive.py",
        '        if parts[0] in ("nylon_ring_py", "nylon_ring_py.py"):',
        "        if not parts:",
        ("unit/test_archive.py", "integration/test_security.py::test_paths_that_init_refuses"),
    ),
    Mutant(
        "a-temporary-file-may-be-there",
        "nylon_ring_py/build/builder.py",
        "os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW",
        "os.O_CREAT",
        ("integration/test_security.py::test_the_temporary_file_is_made_anew",),
    ),
    Mutant(
        "a-plugin-file-is-everybody-s",
        "nylon_ring_py/build/builder.py",
        "os.O_CLOEXEC, 0o755)",
        "os.O_CLOEXEC, 0o777)",
        ("integration/test_security.py::test_a_built_file_is_written_by_its_owner_alone",),
    ),
)
