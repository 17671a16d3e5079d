package scale

import (
	"bytes"
	"fmt"
)

// tape is the stream that all its receivers must get. See doc.go.
type tape struct {
	recorded []byte
	check    scanner
	ledger   *ledger
}

func newTape() *tape {
	t := &tape{ledger: newLedger(false)}
	t.check.frame = t.ledger.enter
	return t
}

// tapeReader is how far one receiver is.
type tapeReader struct {
	tape *tape
	at   int
}

// take compares what a receiver got with the tape. What nobody got before is
// checked and put onto it. b is borrowed.
func (r *tapeReader) take(b []byte) error {
	known := r.tape.recorded[r.at:]
	n := min(len(known), len(b))
	if !bytes.Equal(known[:n], b[:n]) {
		return fmt.Errorf("its stream differs from the others' behind offset %d", r.at)
	}
	if n < len(b) {
		if err := r.tape.check.take(b[n:]); err != nil {
			return err
		}
		r.tape.recorded = append(r.tape.recorded, b[n:]...)
	}
	r.at += len(b)
	return nil
}
