package scale

import (
	"fmt"
	"hash/crc32"
	"maps"
)

// A message is text: sender, number and checksum in hex, each with a space
// behind it, and filler that follows from the two numbers. Senders with even
// numbers send text frames, the others binary ones.
const (
	checkAt     = 4 + 1 + 8 + 1
	fillAt      = checkAt + 8 + 1
	stormSender = 0xfffe // Of all clients of a storm: each of its numbers may come once.
)

func kindOf(sender int) byte {
	if sender%2 == 0 {
		return opText
	}
	return opBinary
}

// newMessage makes a message of size bytes, at least fillAt.
func newMessage(sender, number, size int) []byte {
	b := fmt.Appendf(make([]byte, 0, size), "%04x %08x %08x ", sender, number, 0)
	for len(b) < size {
		b = append(b, 'a'+byte((sender*7+number+len(b))%26))
	}
	copy(b[checkAt:], fmt.Sprintf("%08x", checksum(b)))
	return b
}

// checksum covers all but itself.
func checksum(b []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE(b[:checkAt]), crc32.IEEETable, b[fillAt:])
}

// parseMessage returns who sent a message and its number, if it is intact. It
// runs for every delivery where clients have streams of their own.
func parseMessage(b []byte) (sender, number int, err error) {
	if len(b) < fillAt {
		return 0, 0, fmt.Errorf("a message of %d bytes: %q", len(b), b)
	}
	if hex(b[checkAt:checkAt+8]) != int(checksum(b)) {
		return 0, 0, fmt.Errorf("message %q... is damaged", b[:fillAt])
	}
	return hex(b[:4]), hex(b[5:13]), nil
}

// hex is the number that lower case hex digits stand for, or another if they
// are none.
func hex(b []byte) (n int) {
	for _, c := range b {
		if c >= 'a' {
			c -= 'a' - '0' - 10
		}
		n = n<<4 | int(c-'0')
	}
	return n
}

// ledger checks the messages of one stream: each intact, and each sender's in
// order and without a gap.
type ledger struct {
	lossy bool         // Gaps are no fault.
	due   map[int]int  // By sender: the number that comes next.
	storm map[int]bool // What came of stormSender's numbers.
	total int
}

func newLedger(lossy bool) *ledger {
	return &ledger{lossy: lossy, due: make(map[int]int), storm: make(map[int]bool)}
}

// enter takes the next message. payload is borrowed.
func (l *ledger) enter(op byte, payload []byte) error {
	sender, number, err := parseMessage(payload)
	if err != nil {
		return err
	}
	if op != kindOf(sender) {
		return fmt.Errorf("message %d of sender %d has opcode %d", number, sender, op)
	}
	l.total++
	if sender == stormSender {
		if l.storm[number] {
			return fmt.Errorf("message %d of the storm came twice", number)
		}
		l.storm[number] = true
		return nil
	}
	if due := l.due[sender]; number < due || number > due && !l.lossy {
		return fmt.Errorf("message %d of sender %d came when %d was due", number, sender, due)
	}
	l.due[sender] = number + 1
	return nil
}

// want says what is missing of senders' messages, from the first to the count-th.
func (l *ledger) want(senders, count int) error {
	want := make(map[int]int)
	for i := range senders {
		want[i] = count
	}
	if !maps.Equal(l.due, want) {
		return fmt.Errorf("got messages up to %v, want up to %d of each of %d senders", l.due, count, senders)
	}
	return nil
}
