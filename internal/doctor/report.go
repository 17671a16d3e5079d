package doctor

// Report is all that there is to say about a wish. Its JSON names stay as they are; new
// ones may come.
type Report struct {
	Conns int  `json:"connections"` // that were wished for
	Fits  bool `json:"fits"`
	// Allows is how many connections the limits allow, and Binds the name of the one that
	// allows no more.
	Allows     int        `json:"allows"`
	Binds      string     `json:"binds"`
	Checks     []Check    `json:"checks"`
	Prediction Prediction `json:"prediction"`
}

// Examine says all about a wish. With nothing measured, memory is predicted from figures
// of other machines, and a broadcast is not.
func (h Host) Examine(w Wish, m Measured) (Report, error) {
	p := h.Predict(w, m)
	all, err := h.Checks(w, p.OwnEach.plus(p.KernelEach))
	if err != nil {
		return Report{}, err
	}
	for i := range all {
		if all[i].Change == nil {
			all[i].Change = []string{} // null is no list.
		}
	}
	r := Report{Conns: w.Conns, Fits: Fits(all), Checks: all, Prediction: p}
	r.Allows, r.Binds = Most(all)
	return r, nil
}
