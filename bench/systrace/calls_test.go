package systrace

import "testing"

func TestCalls(t *testing.T) {
	calls := Calls{1: 5, 44: 7, 232: 1}
	if got := calls.Total(); got != 13 {
		t.Errorf("Total: got %d, want 13", got)
	}
	if got := calls.Of(1, 44, 99); got != 12 {
		t.Errorf("Of: got %d, want 12", got)
	}
	if got := Calls(nil).Total(); got != 0 {
		t.Errorf("Total of nil: got %d, want 0", got)
	}
}
