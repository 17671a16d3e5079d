// Package auth decides, by JSON Web Tokens (RFC 7519), who may join which channels of a server, who may publish there,
// and until when. It also makes such tokens.
//
// A request carries its token in exactly one of three places: in the header Authorization (Bearer, RFC 6750, section
// 2.1), in the query as token=, or, from browsers, as a subprotocol "bearer." followed by the token. The token's claim
// "crier" lists what its bearer may do:
//
//	{"exp": 1795500000, "crier": {"join": ["news/*", "chat/42"], "publish": ["chat/42"]}}
//
// Anything else is not allowed. The entries are patterns: see Match. A connection may publish only if its channel
// matches both lists.
//
// The package does not store tokens, revoke them, or fetch keys; it does not know who the users are.
//
// # Files, in the order of use
//
//   - keys.go: Keys, read from PEM, a JWKS or a secret
//   - jwks.go: the keys of a JWKS
//   - auth.go: Verifier, which checks the token of a request
//   - pattern.go: Match
//   - sign.go: Signer, which makes tokens
//
// # Ownership
//
// Keys and Signer do not change once they are made. The keys of a Verifier are replaced as a whole, atomically.
package auth
