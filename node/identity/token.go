package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"strings"
)

// Token lets a node join: the secret proves it to the cluster, the fingerprint
// (SHA-256 of the subject public key info of the authority's certificate) proves
// the cluster to it. Its text is base32(Secret) "." base32(Fingerprint), RFC 4648 section 6,
// in lower case without padding.
type Token struct {
	Secret      [16]byte
	Fingerprint [sha256.Size]byte
}

var base32lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewToken makes a random secret for clusters of this authority's certificate (PEM).
func NewToken(authorityPEM []byte) (t Token, err error) {
	authority, err := parseCertificate(authorityPEM)
	if err != nil {
		return Token{}, err
	}
	rand.Read(t.Secret[:])
	t.Fingerprint = sha256.Sum256(authority.RawSubjectPublicKeyInfo)
	return t, nil
}

// ParseToken reads what String wrote, in either case, with space around it.
func ParseToken(text string) (t Token, err error) {
	bad := errors.New("identity: not a join token")
	secret, fingerprint, ok := strings.Cut(strings.ToLower(strings.TrimSpace(text)), ".")
	if !ok {
		return t, bad
	}
	for _, part := range []struct {
		text string
		into []byte
	}{{secret, t.Secret[:]}, {fingerprint, t.Fingerprint[:]}} {
		raw, err := base32lower.DecodeString(part.text)
		if err != nil || len(raw) != len(part.into) {
			return Token{}, bad
		}
		copy(part.into, raw)
	}
	return t, nil
}

func (t Token) String() string {
	return base32lower.EncodeToString(t.Secret[:]) + "." + base32lower.EncodeToString(t.Fingerprint[:])
}

// Hash is what the cluster keeps of a secret: the state may be read by more
// people than may join.
func (t Token) Hash() []byte {
	sum := sha256.Sum256(t.Secret[:])
	return sum[:]
}

// Check says whether the token's secret is the one whose Hash the cluster keeps.
func (t Token) Check(hash []byte) bool { return subtle.ConstantTimeCompare(t.Hash(), hash) == 1 }
