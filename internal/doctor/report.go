package doctor

// Report is the result of an examination. Its JSON names do not change; new names may be added.
type Report struct {
	Conns int  `json:"connections"` // The goal.
	Fits  bool `json:"fits"`
	// Allows is how many connections the limits allow, and Binds the name of the lowest limit.
	Allows     int        `json:"allows"`
	Binds      string     `json:"binds"`
	Checks     []Check    `json:"checks"`
	Prediction Prediction `json:"prediction"`
}

// Examine returns the report for a goal. If m is the zero value, memory is predicted from figures of other machines,
// and the time of a broadcast is not predicted.
func (h Host) Examine(g Goal, m Measured) (Report, error) {
	p := h.Predict(g, m)
	all, err := h.Checks(g, p.OwnEach.plus(p.KernelEach))
	if err != nil {
		return Report{}, err
	}
	for i := range all {
		if all[i].Change == nil {
			all[i].Change = []string{} // JSON has null for a nil slice.
		}
	}
	r := Report{Conns: g.Conns, Fits: Fits(all), Checks: all, Prediction: p}
	r.Allows, r.Binds = Most(all)
	return r, nil
}
