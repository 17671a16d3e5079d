// Command crier is a WebSocket broadcast server: a message that a client sends goes to all clients. Other commands of
// the same program publish, subscribe, sign tokens, check a host, and load a server.
//
// The package turns flags into the configurations of packages broadcast, cluster, admin, auth, metrics and live,
// starts them in order, and stops them in reverse order. It knows nothing of frames, logs or connections. It is the
// only package that reads the command line and the environment, writes to the standard streams, and exits.
//
// # Files, in the order of a start
//
// Process and streams:
//
//	main.go         the commands, and parsing
//	slack.go        timer slack on a single processor
//	streams.go      standard output, and the log
//	errors.go       errors with hints, and exit codes
//
// Command line, environment and --config:
//
//	spelling.go     spellings of other programs
//	help.go         --help, and the groups of flags
//	usage.go        errors of the command line
//	environment.go  variables that are nearly those of flags
//	config.go       the file of --config; crier config
//	effective.go    values in effect of flags that are not given
//	settingfile.go  reading files that flags name
//
// Flags of serving:
//
//	serveflags.go   the server
//	page.go         the page for browsers
//	auth.go         who may connect
//	admin.go        the admin API
//	cluster.go      the cluster
//	nats.go         files and errors of NATS
//	validate.go     checks of values and combinations
//
// Serving:
//
//	serve.go        crier serve, from flags to the end of the drain
//	signals.go      SIGTERM, SIGINT, SIGHUP, SIGQUIT
//	reload.go       what SIGHUP reloads
//	systemd.go      the protocols of systemd
//	sockets.go      sockets that systemd has passed, or that crier opens
//	service.go      the parts of the server, and their order
//	standin.go      answers while the server waits for NATS
//	notify.go       the state of the server, for systemd and its watchdog
//
// HTTP next to the server:
//
//	endpoint.go     an HTTP server, and protection from web pages
//	idle.go         its idle connections
//	malformed.go    JSON for requests that net/http refuses
//	pprof.go        profiles
//	tracing.go      spans of requests that publish
//	otlp.go         their export
//
// Other commands:
//
//	peer.go         a server that a command connects to, and what its errors mean
//	pub.go          crier pub
//	sub.go          crier sub
//	token.go        crier token
//	load.go         crier load
//	doctor.go       crier doctor
//	probe.go        crier probe
//	version.go      crier version
//	completion.go   crier completion, and the manual pages
//
// # Ownership
//
// The goroutine of main owns flags, sockets, the service and the order of start and stop. Structs that other
// goroutines use have the owners of their fields in sections. These goroutines exist, and each is waited for by the
// function that stops it, unless its go statement says otherwise:
//
//	signalWatch.run          stopped by signalWatch.stop
//	standIn.run              stopped by standIn.close
//	notifier.feedWatchdog    stopped by notifier.close
//	http.Server.Serve        stopped by endpoint.close
//	broadcast.Server.Serve   one for each public listener; stopped by Shutdown in serve
package main
