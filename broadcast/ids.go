package broadcast

import (
	"slices"
	"sort"
)

// channelIDs maps the messages of a channel, numbered from 1 on, to the IDs that an Order gave them. IDs rise, and
// those of other channels are between them, so they are kept as runs. A nil *channelIDs stands for messages whose ID
// is their number.
type channelIDs struct {
	floor uint64 // Messages that are missing here had this ID or a lower one.
	runs  []idRun
}

// idRun describes messages with consecutive IDs. Its fields are those of the first message: its frame number in the
// log, which counts from 0, and its ID.
type idRun struct{ number, id uint64 }

// idRunBytes is the size of an idRun.
const idRunBytes = 16

// at returns the ID of message n.
func (s *channelIDs) at(n uint64) uint64 {
	if s == nil {
		return n
	}
	i := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].number >= n }) - 1
	if i < 0 {
		return s.floor
	}
	return s.runs[i].id + n - 1 - s.runs[i].number
}

// before returns the number of messages whose ID is id or lower. frames is the number of messages that the channel has
// had.
func (s *channelIDs) before(id, frames uint64) uint64 {
	if s == nil {
		return id
	}
	i := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].id > id }) - 1
	switch {
	case i < 0 && len(s.runs) == 0:
		return frames
	case i < 0:
		return s.runs[0].number
	}
	end := frames
	if i+1 < len(s.runs) {
		end = s.runs[i+1].number
	}
	return min(end, s.runs[i].number+id-s.runs[i].id+1)
}

// extend records the ID of the next message, which has a number.
func (s *channelIDs) extend(number, id uint64) {
	if n := len(s.runs); n > 0 {
		if last := s.runs[n-1]; id-last.id == number-last.number {
			return
		}
	}
	s.runs = append(s.runs, idRun{number, id})
}

// trim drops the runs without retained messages. first is the number of the first retained message.
func (s *channelIDs) trim(first uint64) {
	n := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].number > first }) - 1
	if n > 0 {
		s.floor = s.at(s.runs[n].number)
		s.runs = s.runs[:copy(s.runs, s.runs[n:])]
	}
}

// recordID records the ID of the message that was put into the channel's log with a number. The channel's mutex must be
// held.
func (ch *channel) recordID(number, id uint64) {
	s := ch.ids
	was := cap(s.runs)
	if len(s.runs) == was {
		s.trim(ch.plain.log.First())
	}
	s.extend(number, id)
	ch.plain.form.log.Space.Charge(int64(cap(s.runs)-was) * idRunBytes)
}

// tidyIDs drops the IDs of messages that are not retained, and frees their memory. The channel's mutex must be held.
func (ch *channel) tidyIDs() {
	s, log := ch.ids, &ch.plain.log
	was := cap(s.runs)
	switch s.trim(log.First()); {
	case log.Empty():
		*s = channelIDs{floor: s.at(log.Frames())}
	case len(s.runs) < was/4:
		s.runs = slices.Clip(slices.Clone(s.runs))
	}
	ch.plain.form.log.Space.Charge(int64(cap(s.runs)-was) * idRunBytes)
}

// idAt returns the ID of message n. The channel's mutex must not be held.
func (ch *channel) idAt(n uint64) uint64 {
	if ch.ids == nil {
		return n
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return ch.ids.at(n)
}
