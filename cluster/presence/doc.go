// Package presence tells servers how many connections each channel has at all of them together. It knows core NATS
// and counts. It does not know what messages are, or how connections work.
//
// At every beat a server publishes, once for all others, what has changed since its last beat. Beats are numbered: a
// server that misses one, or hears of another server for the first time, asks that server for a snapshot of all its
// counts. Counts are absolute, and each is as old as the beat that it was in, or as the beat before its snapshot. So
// it does not matter in which order beats and snapshots arrive, or whether they arrive twice. A server that has not
// been heard of for four beats is forgotten.
//
// A beat takes about 40 bytes, and for each changed channel its name and about 3 bytes. With very many servers beats
// are rarer, see beatPerServer.
//
// # The data path, in file order
//
//	presence.go  the part of one server: starting, closing, and what can be asked
//	send.go      beats and snapshots to other servers
//	wire.go      the messages between servers
//	receive.go   beats and snapshots of other servers
//	table.go     the counts of other servers
//
// # Who owns what
//
//	Presence.run        the sender: numbers, changes that were not sent, and the snapshot that is being sent
//	Presence.mu         the other servers, the table of their counts, and who has asked for a snapshot
//	NATS' goroutines    call receive, one for each subscription
//
// Start starts run. Close stops it, waits for it, and ends the subscriptions.
//
// # Glossary
//
//   - beat: a message at a regular interval, with the counts that have changed.
//   - snapshot: all counts of a server, in several parts, for servers that lack some of them.
//   - complete: no beat of a server, and nothing from before the first one, is missing in its counts.
//   - elsewhere: at other servers. Unlisted: counted, but not by channel.
package presence
