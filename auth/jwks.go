package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/MicahParks/jwkset"
)

// parseJWKS reads a JWKS. RFC 7517, section 5, asks to ignore keys of unknown types, and those that miss members or
// whose values are out of range.
func (k *Keys) parseJWKS(b []byte) error {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(b, &set); err != nil {
		return fmt.Errorf("JWKS: %w", err)
	}
	if set.Keys == nil {
		return errors.New(`JWKS: want {"keys": [...]}`)
	}
	for i, raw := range set.Keys {
		var m jwkset.JWKMarshal
		err := json.Unmarshal(raw, &m)
		place, private := describeJWK(i, raw)
		if err == nil && m.KTY == "" {
			err = errors.New("it has no type (kty)")
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

// describeJWK names the key at index i, and reports whether it is a private one, even if it is not well-formed.
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
		return fmt.Errorf("it is a %s, want an object", wrongType.Value)
	default:
		return fmt.Errorf("its member %q is a %s, which it cannot be", wrongType.Field, wrongType.Value)
	}
}

// otherUse returns for what a key is if it is not for verifying with one of algorithms, or "".
func otherUse(m *jwkset.JWKMarshal) string {
	kind := m.KTY.String()
	if m.CRV != "" {
		kind += " " + m.CRV.String()
	}
	alg := map[string]string{"RSA": "RS256", "EC P-256": "ES256", "OKP Ed25519": "EdDSA", "oct": "HS256"}[kind]
	said := m.ALG.String()
	if alg == "EdDSA" && said == "Ed25519" { // Its newer name, RFC 9864.
		said = alg
	}
	switch {
	case m.USE != "" && m.USE != jwkset.UseSig:
		return fmt.Sprintf("its use is %.40q, want sig", m.USE)
	case len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify):
		return "its key_ops do not list verify"
	case alg == "":
		return fmt.Sprintf("its type (kty, crv) is %.40q, want RSA, EC P-256, OKP Ed25519 or oct", kind)
	case said != "" && said != alg:
		return fmt.Sprintf("its alg is %.40q, want %s for this type", said, alg)
	}
	return ""
}

func parseJWK(m jwkset.JWKMarshal) (key, error) {
	secret := m.KTY == jwkset.KtyOct
	m.ALG, m.KEYOPS = "", nil // They were looked at.
	m.X5C, m.X5U, m.X5T, m.X5TS256 = nil, "", "", ""
	k, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{Private: secret}, jwkset.JWKValidateOptions{})
	if err != nil {
		return key{}, err
	}
	return newKey(m.KID, k.Key())
}
