// Package logqueue keeps a program's log from blocking the program. A Queue is an io.Writer that stands between the
// log and the file or pipe that it goes to: Write takes a line and returns at once, and one goroutine writes the
// lines in order. If a reader has stopped, a disk is full or a terminal is gone, lines are dropped and counted.
//
// It does not know what a line says, except for the notice that stands where lines are missing.
//
// In file order:
//
//	queue.go  lines that wait, and their bound
//	write.go  the goroutine that writes them, and what it does about errors
//
// # Who owns what
//
//	Queue.mu  the waiting lines and their size
//	writer    the output, and the number of lines that it could not write
package logqueue
