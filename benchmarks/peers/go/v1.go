package main

/*
#cgo CFLAGS: -I${SRCDIR}/../../../shim/abi
#include <stdlib.h>
#include <string.h>
#include "nylon_ring_v1.h"

static void send_v1(NrHostVTable *table, void *context, uint64_t sid, NrStatus status, NrBytes payload) {
    table->send_result(context, sid, status, payload);
}
*/
import "C"

import "unsafe"

//export peerInitV1
func peerInitV1(_, context, table unsafe.Pointer) C.NrStatus {
	plugin.setHost(context, table)
	return C.NR_OK
}

//export peerHandleV1
func peerHandleV1(_ unsafe.Pointer, entry C.NrStr, sid C.uint64_t, request *C.NrRequest, payload C.NrBytes) C.NrStatus {
	name := toString(&entry)
	send := func(status Status, data []byte) {
		sendV1(sid, status, data)
	}
	isKnown := false
	if request == nil {
		isKnown = plugin.handleRaw(name, toBytes(payload), send)
	} else {
		copied := copyRequest(request)
		copied.Body = toBytes(payload)
		isKnown = plugin.handleRequest(name, copied, send)
	}
	if !isKnown {
		return C.NR_INVALID
	}
	return C.NR_OK
}

//export peerStreamDataV1
func peerStreamDataV1(_ unsafe.Pointer, sid C.uint64_t, data C.NrBytes) C.NrStatus {
	plugin.handleStreamData(toBytes(data), func(status Status, data []byte) {
		sendV1(sid, status, data)
	})
	return C.NR_OK
}

//export peerStreamCloseV1
func peerStreamCloseV1(_ unsafe.Pointer, sid C.uint64_t) C.NrStatus {
	plugin.handleStreamClose(func(status Status, data []byte) {
		sendV1(sid, status, data)
	})
	return C.NR_OK
}

// The pointer of an empty text may be any number, which Go's runtime takes for corruption where it finds it on a stack:
// it is not even read. tables.c sees to those that are passed by value.

func toString(text *C.NrStr) string {
	if text.len == 0 {
		return ""
	}
	return C.GoStringN((*C.char)(unsafe.Pointer(text.ptr)), C.int(text.len))
}

func toBytes(bytes C.NrBytes) []byte {
	if bytes.len == 0 {
		return nil
	}
	return C.GoBytes(unsafe.Pointer(bytes.ptr), C.int(bytes.len))
}

func copyRequest(request *C.NrRequest) *Request {
	copied := acquireRequest()
	copied.Method = toString(&request.method)
	copied.Path = toString(&request.path)
	copied.Query = toString(&request.query)
	if request.headers_len > 0 {
		headers := unsafe.Slice(request.headers, request.headers_len)
		for i := range headers {
			copied.Headers[toString(&headers[i].key)] = toString(&headers[i].value)
		}
	}
	return copied
}

// sendV1 goes into C four times, as the SDK does: to allocate, to copy, to send, to free.
func sendV1(sid C.uint64_t, status Status, data []byte) {
	table := (*C.NrHostVTable)(plugin.getHostTable())
	context := plugin.getHostContext()
	copied := C.malloc(C.size_t(max(len(data), 1)))
	if len(data) > 0 {
		C.memcpy(copied, unsafe.Pointer(&data[0]), C.size_t(len(data)))
	}
	payload := C.NrBytes{ptr: (*C.uint8_t)(copied), len: C.uint64_t(len(data))}
	C.send_v1(table, context, sid, C.NrStatus(status), payload)
	C.free(copied)
}
