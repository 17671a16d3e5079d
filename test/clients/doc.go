// Package clients tests crier with WebSocket clients that nobody here wrote: Node's
// ws, .NET's ClientWebSocket under mono, gobwas/ws and gorilla/websocket. And with one
// that was written here, clients/js. It is a module of its own, so that what only these
// tests need stays out of crier's go.mod.
//
// It knows crier only as a program and a URL. In the order of a run:
//
//	main_test.go           builds crier once, or takes the program named by CRIER_BIN
//	process_linux_test.go  a program that ends with its test
//	target_test.go         the server under test: crier, or Node's broadcaster
//	tool_test.go           node, npm and mono: absent is skipped, but fails if CI is set
//	client_test.go         one Go client with an inbox, over either library
//	gobwas_test.go         the dialer of gobwas/ws
//	gorilla_test.go        the dialer of gorilla/websocket
//	suite_test.go          the assertions of both
//	node_test.go           node/suite.js, and the drop-in comparison
//	mono_test.go           mono/Client.cs
//	sigterm_test.go        Node and .NET clients see crier leave
//	newcomer_test.go       README's first commands, and two tabs of Chromium
//	jsclient_test.go       clients/js, in Node and in Chromium, whatever happens to it
//	jsends_test.go         the same: which ends are final, and when it comes back after others
//	jsfallback_test.go     the same: events in the place of WebSockets, pauses, where it begins
//	jsfleet_test.go        the processes it runs in, node/fleet_*.mjs, and what they report
//	jsserver_test.go       a crier that is started again, and a record of what was published
//	jscutter_test.go       a TCP proxy that resets, freezes and refuses
//	town_test.go           examples/cluster: three NATS, three criers, HAProxy and the chat
//	rolling_test.go        its nodes are restarted, one after the other, under clients/js
//	jspackage_test.go      size, types, and what package.json says
//	openapi_test.go        admin/openapi.json: two linters, and clients made of it in TypeScript and Go
//
// With CLIENTS_TARGET=broadcaster the same suites run against node/broadcaster.js, the
// server that crier takes the place of. That tests the tests: what fails there is not
// crier's fault.
package clients
