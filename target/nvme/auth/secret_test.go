package auth

import (
	"fmt"
	"strings"
	"testing"
)

// As nvme gen-dhchap-key writes one.
const sample = "DHHC-1:00:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:"

func TestSecretsAreReadAsTheyAreWritten(t *testing.T) {
	for _, n := range []int{32, 48, 64} {
		for h := Hash(0); h <= SHA512; h++ {
			s := newSecret(t, h, n)
			again, err := ParseSecret(s.Text())
			if err != nil || again.hash != h || !again.Equal(s) || again.Text() != s.Text() {
				t.Errorf("%s: %v", s.Text(), err)
			}
		}
	}
	if s := secretOf(t, sample); s.hash != 0 || len(s.key) != 32 || s.Text() != sample {
		t.Error("the sample is", s.Text())
	}
}

func TestADamagedSecretIsNone(t *testing.T) {
	good := newSecret(t, SHA256, 32).Text()
	flip := []byte(good)
	flip[20] ^= 2
	for name, text := range map[string]string{
		"empty": "", "another format": strings.Replace(good, "DHHC-1", "NVMeTLSkey-1", 1), "no end": strings.TrimSuffix(good, ":"),
		"a line more": good + "\n", "hash 4": strings.Replace(good, ":01:", ":04:", 1), "hash of one digit": strings.Replace(good, ":01:", ":1:", 1),
		"cut": good[:30] + ":", "a character changed": string(flip), "a hash that is none": strings.Replace(good, ":01:", ":0x:", 1),
		"no base64": good[:20] + "!" + good[21:], "long": "DHHC-1:00:" + strings.Repeat("A", 1<<16) + ":", "more parts": good + ":",
		"a line break inside": good[:20] + "\n" + good[20:],
	} {
		if _, err := ParseSecret(text); err == nil {
			t.Errorf("%s: it is taken", name)
		} else if strings.Contains(err.Error(), "AAAA") || strings.Contains(err.Error(), good[12:20]) {
			t.Errorf("%s: the error shows it: %v", name, err)
		}
	}
	for _, n := range []int{0, 16, 31, 33, 65} {
		if _, err := NewSecret(SHA256, make([]byte, n)); err == nil {
			t.Errorf("a key of %d bytes is taken", n)
		}
	}
	if _, err := NewSecret(4, make([]byte, 32)); err == nil {
		t.Error("hash 4 is taken")
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	s := newSecret(t, SHA256, 32)
	c := Config{Host: s, Controller: s}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		text := fmt.Sprintf(format, s) + fmt.Sprintf(format, c) + fmt.Sprintf(format, HostConfig{Host: s})
		if strings.Contains(text, fmt.Sprintf("%x", s.key)) || strings.Contains(text, fmt.Sprint(s.key[:4])[1:8]) || strings.Contains(text, s.Text()[10:20]) {
			t.Errorf("%s shows it: %s", format, text)
		}
	}
}

func FuzzSecret(f *testing.F) {
	f.Add(sample)
	f.Add("DHHC-1:03::")
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := ParseSecret(text); err == nil && s.Text() != text {
			t.Fatalf("%q is read as %q", text, s.Text())
		}
	})
}
