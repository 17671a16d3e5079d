package systrace

import "slices"

// Calls holds how often each system call was entered, by its number (unix.SYS_…, which
// differs between architectures). The zero value has none.
type Calls map[int]int

// Total returns the number of all calls.
func (c Calls) Total() int {
	sum := 0
	for _, n := range c {
		sum += n
	}
	return sum
}

// Of returns the number of calls with one of the given numbers.
func (c Calls) Of(numbers ...int) int {
	sum := 0
	for number, n := range c {
		if slices.Contains(numbers, number) { // Each once, though one may be given twice.
			sum += n
		}
	}
	return sum
}
