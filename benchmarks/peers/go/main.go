// The Go peer: what a plugin costs that is written with the Go SDK for nylon-ring, beside which `make bench` puts ours.
//
// Like the SDK: a plugin registers handlers by name, for goroutines (Handle), for the host's own thread (HandleSync),
// for bytes alone (HandleRaw, on the host's thread too), and for a stream's frames and its end (HandleStream, likewise).
// The SDK's comment says that HandleRaw runs in a goroutine; its code runs it on the host's thread, as here. The request is copied into Go memory, its headers into a
// map, and comes from a sync.Pool; a handler answers through a callback; a panic is answered "plugin panic". A v1 reply
// is copied into memory of malloc, sent and freed. Handlers and host are looked up under the plugin's RWMutex.
//
// Left out: OnInit, OnShutdown, and ABI v2's streams that take frames. Mended: the SDK as released does
// not compile on Linux; it cannot be called without a request, as hosts of the five-function layout call raw entries;
// and it lets the pointers of empty texts, which are any number in a Rust host, onto Go's stacks.
//
// There is no Go SDK for ABI v2. v2.go does what serves a Go author best there, which is quicker than the SDK's way.
package main

const frames = 1000

var frame = make([]byte, 128)

// Written once, before the host can call.
var plugin = newPlugin()

func echo(_ Request, payload []byte, reply func(Response)) {
	reply(Response{StatusOk, payload})
}

func init() {
	plugin.HandleSync("sync", echo)
	plugin.HandleRaw("raw", func(payload []byte, reply func(Response)) {
		reply(Response{StatusOk, payload})
	})
	plugin.Handle("pool", echo)
	plugin.Handle("gen", func(_ Request, _ []byte, reply func(Response)) {
		for range frames {
			reply(Response{StatusOk, frame})
		}
		reply(Response{StatusStreamEnd, nil})
	})
	plugin.Handle("echo", func(_ Request, _ []byte, _ func(Response)) {})
	plugin.HandleStream(func(data []byte, reply func(Response)) {
		reply(Response{StatusOk, data})
	}, func(reply func(Response)) {
		reply(Response{StatusStreamEnd, nil})
	})
}

func main() {}
