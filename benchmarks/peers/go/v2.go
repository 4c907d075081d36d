package main

/*
#include <sched.h>
#include "nylon_ring_v2.h"

static void send_v2(NrHostVTableV2 *table, void *context, uint64_t sid, NrStatus status, void *bytes, size_t size) {
    NrVecU8 payload = {.ptr = (uint8_t *)bytes, .len = size, .cap = size};
    while (table->send_result(context, sid, status, payload) == NR_BACKPRESSURE) {
        sched_yield();
    }
}
*/
import "C"

import "unsafe"

// What ABI v2 spares a Go plugin is used. An entry has a number, so there is no map; it has no request but its body; who
// answers is told by a value, and not by a callback, which would have to be allocated. The host copies a reply before it
// returns, so Go's own memory is lent to it, in one step into C; and the raw entry reads the host's memory, also lent.

// Call is a call to answer.
type Call struct {
	sid C.uint64_t
}

type entry struct {
	name   string
	answer func(call Call, payload C.NrBytes)
}

var entries = [...]entry{
	{"sync", func(call Call, payload C.NrBytes) { call.echo(toBytes(payload)) }},
	{"raw", func(call Call, payload C.NrBytes) {
		call.echo(unsafe.Slice((*byte)(unsafe.Pointer(payload.ptr)), payload.len))
	}},
	{"pool", func(call Call, payload C.NrBytes) { go call.echo(toBytes(payload)) }},
	{"gen", func(call Call, _ C.NrBytes) { go call.stream() }},
}

// Written by init, before the host calls anything else.
var hostV2 struct {
	context unsafe.Pointer
	table   *C.NrHostVTableV2
}

func (call Call) echo(payload []byte) {
	defer call.answerPanic()
	call.send(StatusOk, payload)
}

func (call Call) stream() {
	defer call.answerPanic()
	for range frames {
		call.send(StatusOk, frame)
	}
	call.send(StatusStreamEnd, nil)
}

// send offers a frame that the host has no room for again when other threads have run; runtime.Gosched, with no other
// goroutine to run, would keep the one that makes room from its core.
func (call Call) send(status Status, data []byte) {
	bytes := unsafe.Pointer(unsafe.SliceData(data))
	C.send_v2(hostV2.table, hostV2.context, call.sid, C.NrStatus(status), bytes, C.size_t(len(data)))
}

// answerPanic is deferred by what runs a handler.
func (call Call) answerPanic() {
	if recover() != nil {
		call.send(StatusErr, []byte("plugin panic"))
	}
}

//export peerInitV2
func peerInitV2(context, table unsafe.Pointer) C.NrStatus {
	hostV2.context = context
	hostV2.table = (*C.NrHostVTableV2)(table)
	return C.NR_OK
}

//export peerResolve
func peerResolve(name C.NrStr) C.uint32_t {
	text := unsafe.String((*byte)(unsafe.Pointer(name.ptr)), name.len)
	for id := range entries {
		if entries[id].name == text {
			return C.uint32_t(id)
		}
	}
	return C.NR_ENTRY_UNKNOWN
}

//export peerHandleV2
func peerHandleV2(name C.NrStr, sid C.uint64_t, payload C.NrBytes) C.NrStatus {
	return peerHandleByID(peerResolve(name), sid, payload)
}

//export peerHandleByID
func peerHandleByID(id C.uint32_t, sid C.uint64_t, payload C.NrBytes) C.NrStatus {
	if int(id) >= len(entries) {
		return C.NR_INVALID
	}
	entries[id].answer(Call{sid}, payload)
	return C.NR_OK
}
