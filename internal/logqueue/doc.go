// Package logqueue keeps a program's log from blocking the program. A Queue is an io.Writer between the log and its
// file or pipe: Write queues a line and returns at once, and one goroutine writes the lines in order. If the reader
// has stopped, a disk is full or a terminal is gone, lines are dropped and counted.
//
// It does not interpret lines. It writes one line of its own: the notice in place of dropped lines.
//
// In file order:
//
//	queue.go  the queued lines, and their limit
//	write.go  the goroutine that writes them, and its treatment of errors
//
// # Ownership
//
//	Queue.mu  guards the queued lines and their size
//	writer    owns the output, and the number of lines that it could not write
package logqueue
