package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/MicahParks/jwkset"
)

// parseJWKS reads a JWKS. RFC 7517, section 5, asks to ignore keys of unknown types, and those that miss members or
// whose values are out of range.
func (k *Keys) parseJWKS(b []byte) error {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	err := json.Unmarshal(b, &set)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("JWKS: %w, at byte %d", err, syntax.Offset)
	}
	if err != nil || set.Keys == nil {
		return errors.New(`JWKS: "keys" is missing or not an array: want {"keys": [...]}`)
	}
	for i, raw := range set.Keys {
		var m jwkset.JWKMarshal
		err := json.Unmarshal(raw, &m)
		place, private := describeJWK(i, raw)
		if err == nil && m.KTY == "" {
			err = errors.New("its type (kty) is missing")
		}
		switch other := otherUse(&m); {
		case private:
			return fmt.Errorf("%s: %w", place, errPrivate)
		case err == nil && other != "":
			k.skipped = append(k.skipped, SkippedKey{place, other, true})
			continue
		case err != nil:
			k.add(place, key{}, plainJSONError(err))
			continue
		}
		each, err := parseJWK(m)
		k.add(place, each, err)
	}
	return nil
}

// describeJWK names the key at index i, and reports whether it is a private key, even if it is malformed.
func describeJWK(i int, raw json.RawMessage) (place string, private bool) {
	var m struct{ Kid, D any }
	_ = json.Unmarshal(raw, &m)
	place = fmt.Sprintf("JWKS key %d", i+1)
	if m.Kid != nil {
		place += fmt.Sprintf(" (kid %.40q)", fmt.Sprint(m.Kid))
	}
	return place, m.D != nil && m.D != ""
}

// plainJSONError returns err without the names of Go types.
func plainJSONError(err error) error {
	var wrongType *json.UnmarshalTypeError
	switch {
	case !errors.As(err, &wrongType):
		return err
	case wrongType.Field == "":
		return fmt.Errorf("it is %s, want an object", withArticle(wrongType.Value))
	default:
		return fmt.Errorf("its member %q is %s, want %s",
			wrongType.Field, withArticle(wrongType.Value), jsonType(wrongType.Type))
	}
}

// withArticle returns the name of a JSON type as part of a sentence: array, bool, number, object or string, and perhaps
// the number.
func withArticle(name string) string {
	switch name, _, _ = strings.Cut(name, " "); name {
	case "array", "object":
		return "an " + name
	case "bool":
		return "a boolean"
	}
	return "a " + name
}

// jsonType names the JSON type that a Go type is read from.
func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	}
	return "a string"
}

// otherUse returns why a key is not for verifying with one of algorithms, or "" if it is.
func otherUse(m *jwkset.JWKMarshal) string {
	kind := m.KTY.String()
	if m.CRV != "" {
		kind += " " + m.CRV.String()
	}
	alg := map[string]string{"RSA": "RS256", "EC P-256": "ES256", "OKP Ed25519": "EdDSA", "oct": "HS256"}[kind]
	declared := m.ALG.String()
	if alg == "EdDSA" && declared == "Ed25519" { // Its newer name, RFC 9864.
		declared = alg
	}
	switch {
	case m.USE != "" && m.USE != jwkset.UseSig:
		return fmt.Sprintf("its use is %.40q, want sig", m.USE)
	case len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify):
		return "its key_ops do not list verify"
	case alg == "":
		return fmt.Sprintf("its type (kty, crv) is %.40q, want RSA, EC P-256, OKP Ed25519 or oct", kind)
	case declared != "" && declared != alg:
		return fmt.Sprintf("its alg is %.40q, want %s for this type", declared, alg)
	}
	return ""
}

// parseJWK returns the key of a JWK that otherUse has checked.
func parseJWK(m jwkset.JWKMarshal) (key, error) {
	secret := m.KTY == jwkset.KtyOct
	m.ALG, m.KEYOPS = "", nil // otherUse has checked them.
	m.X5C, m.X5U, m.X5T, m.X5TS256 = nil, "", "", ""
	k, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{Private: secret}, jwkset.JWKValidateOptions{})
	if err != nil {
		return key{}, err
	}
	return newKey(m.KID, k.Key())
}
