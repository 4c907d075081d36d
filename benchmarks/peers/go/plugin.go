package main

import (
	"sync"
	"unsafe"
)

// Status is the ABI's.
type Status uint32

// The statuses that are used here.
const (
	StatusOk        Status = 0
	StatusErr       Status = 1
	StatusStreamEnd Status = 4
)

// Request is a request in Go's memory.
type Request struct {
	Method  string
	Path    string
	Query   string
	Headers map[string]string
	Body    []byte
}

// Response is what a handler answers with.
type Response struct {
	Status Status
	Data   []byte
}

// Handler answers a request, once or, in a stream, until StreamEnd.
type Handler func(request Request, payload []byte, reply func(Response))

// RawHandler answers bytes.
type RawHandler func(payload []byte, reply func(Response))

// streamHandlers take the frames of any stream, and its end; they are not told which.
type streamHandlers struct {
	data  func(data []byte, reply func(Response))
	close func(reply func(Response))
}

// Plugin has the handlers, and the host once there is one.
type Plugin struct {
	mu           sync.RWMutex
	handlers     map[string]Handler
	syncHandlers map[string]Handler
	rawHandlers  map[string]RawHandler
	streams      *streamHandlers
	hostContext  unsafe.Pointer
	hostTable    unsafe.Pointer
}

func newPlugin() *Plugin {
	return &Plugin{
		handlers:     make(map[string]Handler),
		syncHandlers: make(map[string]Handler),
		rawHandlers:  make(map[string]RawHandler),
	}
}

// Handle registers a handler that runs in a goroutine.
func (p *Plugin) Handle(entry string, handler Handler) {
	p.handlers[entry] = handler
}

// HandleSync registers a handler that runs on the host's thread.
func (p *Plugin) HandleSync(entry string, handler Handler) {
	p.syncHandlers[entry] = handler
}

// HandleRaw registers a handler of bytes, which runs on the host's thread.
func (p *Plugin) HandleRaw(entry string, handler RawHandler) {
	p.rawHandlers[entry] = handler
}

// HandleStream registers what is called with each frame that the host sends, and when it closes its end; both run on
// the host's thread.
func (p *Plugin) HandleStream(data func(data []byte, reply func(Response)), close func(reply func(Response))) {
	p.streams = &streamHandlers{data, close}
}

func (p *Plugin) setHost(context, table unsafe.Pointer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hostContext = context
	p.hostTable = table
}

func (p *Plugin) getHostContext() unsafe.Pointer {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.hostContext
}

func (p *Plugin) getHostTable() unsafe.Pointer {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.hostTable
}

// handleRequest takes the request, and gives it back to its pool. False: there is no such entry.
func (p *Plugin) handleRequest(entry string, request *Request, send func(Status, []byte)) bool {
	p.mu.RLock()
	handler, isPooled := p.handlers[entry]
	syncHandler, isSync := p.syncHandlers[entry]
	p.mu.RUnlock()
	switch {
	case isSync:
		run(syncHandler, request, send)
	case isPooled:
		go run(handler, request, send)
	default:
		releaseRequest(request)
	}
	return isSync || isPooled
}

func (p *Plugin) handleRaw(entry string, payload []byte, send func(Status, []byte)) bool {
	p.mu.RLock()
	handler, isKnown := p.rawHandlers[entry]
	p.mu.RUnlock()
	if isKnown {
		runRaw(handler, payload, send)
	}
	return isKnown
}

func run(handler Handler, request *Request, send func(Status, []byte)) {
	defer releaseRequest(request)
	defer answerPanic(send)
	handler(*request, request.Body, func(response Response) {
		send(response.Status, response.Data)
	})
}

func runRaw(handler RawHandler, payload []byte, send func(Status, []byte)) {
	defer answerPanic(send)
	handler(payload, func(response Response) {
		send(response.Status, response.Data)
	})
}

func (p *Plugin) handleStreamData(data []byte, send func(Status, []byte)) {
	p.mu.RLock()
	handlers := p.streams
	p.mu.RUnlock()
	defer answerPanic(send)
	handlers.data(data, func(response Response) {
		send(response.Status, response.Data)
	})
}

func (p *Plugin) handleStreamClose(send func(Status, []byte)) {
	p.mu.RLock()
	handlers := p.streams
	p.mu.RUnlock()
	defer answerPanic(send)
	handlers.close(func(response Response) {
		send(response.Status, response.Data)
	})
}

// answerPanic is deferred by what runs a handler.
func answerPanic(send func(Status, []byte)) {
	if recover() != nil {
		send(StatusErr, []byte("plugin panic"))
	}
}

var requests = sync.Pool{
	New: func() any {
		return &Request{Headers: make(map[string]string)}
	},
}

func acquireRequest() *Request {
	return requests.Get().(*Request)
}

func releaseRequest(request *Request) {
	clear(request.Headers)
	*request = Request{Headers: request.Headers}
	requests.Put(request)
}
