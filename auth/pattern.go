package auth

import "strings"

// Match reports whether the name of a channel matches a pattern. Slashes divide both into parts. In a part of the
// pattern, one * stands for one or more characters: * alone matches any part that is not empty, and user-* any part
// that begins with user- and is longer. ** as the last part stands for one or more further parts; the pattern ** matches
// every channel. All other characters stand for themselves; case matters. A pattern with more stars in a part matches
// no channel.
func Match(pattern, channel string) bool {
	if pattern == "**" {
		return true
	}
	if !isPattern(pattern) {
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

// matchPart reports whether a part of a name matches a part of a pattern.
func matchPart(pattern, part string) bool {
	before, after, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == part
	}
	return len(part) > len(before)+len(after) && strings.HasPrefix(part, before) && strings.HasSuffix(part, after)
}

// isPattern reports whether a pattern is well-formed: it may match some name.
func isPattern(pattern string) bool {
	parts := strings.Split(pattern, "/")
	for i, p := range parts {
		if strings.Count(p, "*") > 1 && (p != "**" || i < len(parts)-1) {
			return false
		}
	}
	return true
}

// matches returns a function that reports whether a pattern matches channel.
func matches(channel string) func(pattern string) bool {
	return func(pattern string) bool { return Match(pattern, channel) }
}
