package auth

import "strings"

// Match says whether a channel's name matches a pattern. Both are divided by slashes. In a part of
// the pattern one * stands for one or more characters, so that * alone is any part that is not empty,
// and user-* one that begins so. ** as the last part is any number of further parts, one at least;
// the pattern ** is every channel. All else stands for itself, with regard to case. A pattern with
// more stars in a part matches nothing.
func Match(pattern, channel string) bool {
	if pattern == "**" {
		return true
	}
	if !checkPattern(pattern) {
		return false
	}
	for {
		p, restOfPattern, moreOfPattern := strings.Cut(pattern, "/")
		c, restOfChannel, moreOfChannel := strings.Cut(channel, "/")
		switch {
		case p == "**":
			return true
		case !matchPart(p, c) || moreOfPattern != moreOfChannel:
			return false
		case !moreOfPattern:
			return true
		}
		pattern, channel = restOfPattern, restOfChannel
	}
}

func matchPart(pattern, part string) bool {
	before, behind, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == part
	}
	return len(part) > len(before)+len(behind) && strings.HasPrefix(part, before) && strings.HasSuffix(part, behind)
}

// checkPattern says whether there can be such a pattern.
func checkPattern(pattern string) bool {
	parts := strings.Split(pattern, "/")
	for i, p := range parts {
		if strings.Count(p, "*") > 1 && (p != "**" || i < len(parts)-1) {
			return false
		}
	}
	return true
}

// matches returns a function that says whether a pattern matches channel.
func matches(channel string) func(pattern string) bool {
	return func(pattern string) bool { return Match(pattern, channel) }
}
