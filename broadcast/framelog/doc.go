// Package framelog is an append-only log of frames that many readers write to sockets, each at its own pace.
//
// The log is a list of segments in memory. A frame is a run of bytes that must reach a socket whole. Frames follow
// each other without gaps, and a frame may continue in the next segment, so no byte of a segment is wasted. A
// position in the log is an absolute offset: the number of bytes that were appended before it. No offset is used
// twice.
//
// The package knows bytes and frame lengths. It does not know sockets, connections or WebSocket.
//
// # Contract
//
//   - Append adds a frame at the head. Bytes do not change while a Log or a View holds them.
//   - Old segments are dropped whole, from the tail: when the log holds its retention without them, or when the Space
//     exceeds its limit or its age. A segment is reused only after the last View has released it.
//   - A reader loads the log's state into a View, and may then read the bytes from View.Tail to View.Head without a
//     lock for as long as it likes.
//   - A cursor below the tail is lapped: its bytes are gone.
//   - A segment is dropped only after it was offered, so a cursor is lapped only after the server had the chance to
//     write those bytes.
//   - A log that holds nothing has no segment, and takes a few words of memory.
//
// # Files
//
//   - log.go: Log and Append; when segments are dropped
//   - space.go: Space: the segments of all logs, and their common bound
//   - view.go: View: reading, and finding frames
//
// # Who owns what
//
//   - Log: its mutex; Head is an atomic load.
//   - Space: its mutex, which may be locked while a Log's is held, and never the other way round.
//   - View: one goroutine at a time.
//   - segment: the bytes below the head are immutable; Append writes those above.
//
// # Glossary
//
//   - head: the offset after the newest byte.
//   - tail: the offset of the oldest byte held.
//   - cursor: the offset of the next byte that a reader will get.
//   - lag: head - cursor.
//   - lapped: cursor < tail.
//   - offered: written to every socket that would take it.
//   - boundary: an offset at which a frame starts, or the head.
//   - number: how many frames were appended before this one.
//   - retention: how many bytes a log keeps at least.
package framelog
