package session

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"ashlar/target/iscsi/pdu"
)

var ascending = []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

// The expected values were computed with Python's hashlib.
func TestResponsesOfEveryAlgorithm(t *testing.T) {
	for a, want := range map[Algorithm]string{
		MD5:     "2cb0eeacc52c1396da125e0061a760ca",
		SHA1:    "f088640fe3bddb3cd3933011f6fef8d7cc0afd1a",
		SHA256:  "8594e4dbd7487ea0bc445e4e1d82020dbc5beea32285caa1e24cb9016758555a",
		SHA3256: "dab3b9e858f75d0cac049f55ebc459c23f4ae6929ee8f21c116d94976e100f56",
	} {
		if got := hex.EncodeToString(a.Response(0x27, []byte("twelve bytes"), ascending)); got != want {
			t.Errorf("algorithm %d: %s, want %s", a, got, want)
		}
	}
	if r := Algorithm(9).Response(1, []byte("x"), ascending); r != nil {
		t.Errorf("an unknown algorithm answers %x", r)
	}
}

func TestAlgorithmListIsReadAsWholeNumbers(t *testing.T) {
	for list, want := range map[string]Algorithm{
		"5": MD5, "5,6,7,8": MD5, "8,7,6,5": SHA3256, "7,5": SHA256, "6,5": SHA1, "9,5": MD5, "56,5": MD5, "65535,7": SHA256,
		"": 0, "56": 0, "0": 0, "5x": 0, "5,": 0, ",5": 0, "5;6": 0, "+5": 0, "05 ": 0, "65536,5": 0, "MD5": 0,
	} {
		if got, ok := Choose(list); got != want || ok != (want != 0) {
			t.Errorf("CHAP_A=%s: %d %t, want %d", list, got, ok, want)
		}
	}
}

func TestBinaryValues(t *testing.T) {
	for value, want := range map[string]string{
		"0x00ff10": "00ff10", "0X00FF10": "00ff10", "0bAP8Q": "00ff10", "0BAP8Q": "00ff10", "0bAP8=": "00ff", "0bAA==": "00", "0x": "", "0b": "",
	} {
		if got, err := DecodeBinary(value, 16); err != nil || hex.EncodeToString(got) != want {
			t.Errorf("%s: %x, %v", value, got, err)
		}
	}
	for _, value := range []string{
		"", "0", "00ff", "ff", "0x0", "0x0g", "0bAP8", "0bAP9=", "0bAP8Q\n", "0b====", "0bAP8Q=", "1x00",
		"0x" + strings.Repeat("00", 17), EncodeBinary(make([]byte, 17), true), "0b" + strings.Repeat("A", 8000),
	} {
		if got, err := DecodeBinary(value, 16); err == nil {
			t.Errorf("%s: %x", value, got)
		}
	}
	for n := range 70 {
		for _, inBase64 := range []bool{false, true} {
			b := bytes.Repeat([]byte{0xa5}, n)
			if got, err := DecodeBinary(EncodeBinary(b, inBase64), n); err != nil || !bytes.Equal(got, b) {
				t.Fatalf("%d bytes, base64 %t: %x, %v", n, inBase64, got, err)
			}
		}
	}
}

func credentials() Credentials {
	return Credentials{
		Users: []string{"iqn.h", "web1"}, Secret: []byte("initiator secret"), MutualUser: "prod", MutualSecret: []byte("target's secret"),
		Identifier: 0x27, Challenge: ascending,
	}
}

// dialogue is a login in its security stage.
type dialogue struct {
	*testing.T
	Login
}

func newDialogue(t *testing.T, c Credentials) *dialogue {
	return &dialogue{t, Login{Admit: func(Identity) Admission { return Admission{Group: 7, Credentials: c} }}}
}

// say sends keys ("Key=Value") in the security stage, asking for the next one.
func (d *dialogue) say(keys ...string) (resp pdu.LoginResponse, answer string, outcome Outcome) {
	req := request()
	req.CSG, req.NSG = pdu.SecurityNegotiation, pdu.LoginOperational
	resp, b, outcome := d.Step(&req, []byte(strings.Join(keys, "\x00")+"\x00"))
	return resp, strings.ReplaceAll(string(b), "\x00", ";"), outcome
}

func (d *dialogue) hello() []string {
	return []string{"InitiatorName=iqn.h", "TargetName=iqn.t", "AuthMethod=CHAP,None"}
}

// toChallenge goes up to the target's challenge.
func (d *dialogue) toChallenge(algorithm string) {
	d.Helper()
	resp, answer, _ := d.say(d.hello()...)
	if resp.Transit || answer != "TargetPortalGroupTag=7;AuthMethod=CHAP;" {
		d.Fatalf("%v %s", &resp, answer)
	}
	resp, answer, _ = d.say("CHAP_A=" + algorithm)
	if resp.Transit || answer != "CHAP_A="+algorithm+";CHAP_I=39;CHAP_C=0x000102030405060708090a0b0c0d0e0f;" || !d.Challenged() {
		d.Fatalf("%v %s", &resp, answer)
	}
}

func proof(a Algorithm, inBase64 bool) string {
	return "CHAP_R=" + EncodeBinary(a.Response(0x27, []byte("initiator secret"), ascending), inBase64)
}

func TestCHAPInEveryAlgorithmDirectionAndCoding(t *testing.T) {
	for _, a := range Algorithms {
		for _, inBase64 := range []bool{false, true} {
			for _, name := range []string{"iqn.h", "web1", EncodeBinary([]byte("web1"), inBase64)} {
				d := newDialogue(t, credentials())
				d.toChallenge(string('0' + byte(a)))
				if resp, answer, outcome := d.say("CHAP_N="+name, proof(a, inBase64)); !resp.Transit || outcome != LoginGoesOn || answer != "" {
					t.Errorf("algorithm %d, one way: %v %s", a, &resp, answer)
				}
				d = newDialogue(t, credentials())
				d.toChallenge(string('0' + byte(a)))
				challenge := []byte("what do you know?")
				identifier := "CHAP_I=255"
				if inBase64 {
					identifier = "CHAP_I=0xff" // a number may be written so too
				}
				resp, answer, _ := d.say("CHAP_N="+name, proof(a, inBase64), identifier, "CHAP_C="+EncodeBinary(challenge, inBase64))
				want := "CHAP_N=prod;CHAP_R=" + EncodeBinary(a.Response(255, []byte("target's secret"), challenge), inBase64) + ";"
				if !resp.Transit || answer != want {
					t.Errorf("algorithm %d, mutual: %v %s, want %s", a, &resp, answer, want)
				}
			}
		}
	}
}

func TestCHAPThatIsRefused(t *testing.T) {
	good := proof(MD5, false)
	for name, c := range map[string]struct {
		change func(*Credentials)
		keys   []string
	}{
		"a wrong response":                {nil, []string{"CHAP_N=web1", "CHAP_R=0x" + strings.Repeat("00", 16)}},
		"a short response":                {nil, []string{"CHAP_N=web1", good[:len(good)-2]}},
		"an empty response":               {nil, []string{"CHAP_N=web1", "CHAP_R=0x"}},
		"a response of another algorithm": {nil, []string{"CHAP_N=web1", proof(SHA256, false)}},
		"an oversize response in base64":  {nil, []string{"CHAP_N=web1", "CHAP_R=0b" + strings.Repeat("A", 6000)}},
		"a response without its prefix":   {nil, []string{"CHAP_N=web1", "CHAP_R=" + good[len("CHAP_R=0x"):]}},
		"a foreign name":                  {nil, []string{"CHAP_N=web2", good}},
		"an empty name":                   {nil, []string{"CHAP_N=", good}},
		"no name":                         {nil, []string{good}},
		"no response":                     {nil, []string{"CHAP_N=web1"}},
		"nothing":                         {nil, []string{"X-nothing=1"}},
		"a challenge without identifier":  {nil, []string{"CHAP_N=web1", good, "CHAP_C=0x00112233"}},
		"an identifier without challenge": {nil, []string{"CHAP_N=web1", good, "CHAP_I=1"}},
		"an identifier over 255":          {nil, []string{"CHAP_N=web1", good, "CHAP_I=256", "CHAP_C=0x00112233"}},
		"an empty challenge":              {nil, []string{"CHAP_N=web1", good, "CHAP_I=1", "CHAP_C=0x"}},
		"an oversize challenge":           {nil, []string{"CHAP_N=web1", good, "CHAP_I=1", "CHAP_C=0b" + strings.Repeat("AAAA", 342)}},
		"our own challenge":               {nil, []string{"CHAP_N=web1", good, "CHAP_I=1", "CHAP_C=0bAAECAwQFBgcICQoLDA0ODw=="}},
		"a proof that we cannot give":     {func(c *Credentials) { c.MutualSecret = nil }, []string{"CHAP_N=web1", good, "CHAP_I=1", "CHAP_C=0x00112233"}},
	} {
		chosen := credentials()
		if c.change != nil {
			c.change(&chosen)
		}
		d := newDialogue(t, chosen)
		d.toChallenge("5")
		resp, answer, outcome := d.say(c.keys...)
		if name == "nothing" {
			// Not refused, but the stage is not left either.
			if outcome != LoginGoesOn || resp.Transit {
				t.Errorf("%s: %v", name, &resp)
			}
			continue
		}
		if outcome != LoginFailed || LoginStatus(resp.Status) != LoginAuthentication || answer != "" {
			t.Errorf("%s: outcome %d, %v %s", name, outcome, &resp, answer)
		}
	}
}

func TestNobodyGetsRoundCHAP(t *testing.T) {
	hello := func(more ...string) []string {
		return append([]string{"InitiatorName=iqn.h", "TargetName=iqn.t"}, more...)
	}
	for name, keys := range map[string][]string{
		"method None":          hello("AuthMethod=None"),
		"no method":            hello(),
		"method Kerberos":      hello("AuthMethod=KRB5"),
		"algorithms first":     hello("CHAP_A=5"),
		"response first":       hello("CHAP_N=web1", proof(MD5, false)),
		"all of it at once":    hello("AuthMethod=CHAP", "CHAP_A=5", "CHAP_N=web1", proof(MD5, false)),
		"an empty list":        hello("AuthMethod=CHAP", "CHAP_A="),
		"one number, not two":  hello("AuthMethod=CHAP", "CHAP_A=56"),
		"half a method's name": hello("AuthMethod=CHA"),
	} {
		resp, answer, outcome := newDialogue(t, credentials()).say(keys...)
		if outcome != LoginFailed || LoginStatus(resp.Status) != LoginAuthentication || answer != "" {
			t.Errorf("%s: outcome %d, %v %s", name, outcome, &resp, answer)
		}
	}
	again := newDialogue(t, credentials())
	again.toChallenge("5")
	if resp, _, _ := again.say("CHAP_A=5"); LoginStatus(resp.Status) != LoginInitiatorError {
		t.Errorf("a key twice: %v", &resp)
	}
	operational := newDialogue(t, credentials())
	req := request()
	if resp, _, _ := operational.Step(&req, []byte(strings.Join(hello(), "\x00")+"\x00")); LoginStatus(resp.Status) != LoginAuthentication {
		t.Errorf("a login that begins after the security stage: %v", &resp)
	}
	straight := newDialogue(t, credentials())
	req.CSG = pdu.SecurityNegotiation
	if resp, _, _ := straight.Step(&req, []byte(strings.Join(hello("AuthMethod=CHAP"), "\x00")+"\x00")); resp.Transit || resp.Status != 0 {
		t.Errorf("from the security stage to the full feature phase: %v", &resp)
	}
	if resp, _, _ := straight.Step(&req, []byte("InitialR2T=No\x00")); resp.Transit {
		t.Errorf("and again: %v", &resp)
	}
}

func TestSecretsThatProtectNothingAreNotUsed(t *testing.T) {
	for name, change := range map[string]func(*Credentials){
		"short":                  func(c *Credentials) { c.Secret = c.Secret[:MinSecret-1] },
		"ours short":             func(c *Credentials) { c.MutualSecret = c.MutualSecret[:MinSecret-1] },
		"the same in both ways":  func(c *Credentials) { c.MutualSecret = c.Secret },
		"a challenge too short":  func(c *Credentials) { c.Challenge = c.Challenge[:15] },
		"no challenge generated": func(c *Credentials) { c.Challenge = nil },
	} {
		c := credentials()
		change(&c)
		d := newDialogue(t, c)
		if resp, _, _ := d.say(d.hello()...); LoginStatus(resp.Status) != LoginAuthentication {
			t.Errorf("%s: %v", name, &resp)
		}
	}
}

func TestRedirectSaysWhere(t *testing.T) {
	l := Login{Admit: func(Identity) Admission { return Admission{Status: LoginMovedTemporarily, Redirect: "[fd00::2]:3260"} }}
	req := request()
	resp, answer, outcome := l.Step(&req, text(pdu.Pair{Key: "InitiatorName", Value: "iqn.h"}, pdu.Pair{Key: "TargetName", Value: "iqn.t"}))
	if outcome != LoginFailed || resp.Status != 0x0101 || resp.Transit || string(answer) != "TargetAddress=[fd00::2]:3260\x00" {
		t.Fatalf("%v %q", &resp, answer)
	}
}

func FuzzBinary(f *testing.F) {
	f.Add("0x00ff")
	f.Add("0bAP8=")
	f.Fuzz(func(t *testing.T, value string) {
		b, err := DecodeBinary(value, 1024)
		if err != nil {
			return
		}
		if len(b) > 1024 {
			t.Fatalf("%d bytes", len(b))
		}
		again, err := DecodeBinary(EncodeBinary(b, IsBase64(value)), 1024)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x, then %x, %v", b, again, err)
		}
	})
}

// Whatever a host says, it does not leave the security stage without the secret,
// nor gets an answer of ours.
func FuzzCHAP(f *testing.F) {
	f.Add("AuthMethod=CHAP\x00", "CHAP_A=5\x00", "CHAP_N=web1\x00CHAP_R=0x00\x00CHAP_I=1\x00CHAP_C=0x00112233\x00", byte(0x81))
	f.Add("AuthMethod=None\x00", "", "", byte(0x83))
	f.Fuzz(func(t *testing.T, one, two, three string, flags byte) {
		c := credentials()
		d := Login{Admit: func(Identity) Admission { return Admission{Credentials: c} }}
		for _, s := range []string{"InitiatorName=iqn.h\x00TargetName=iqn.t\x00" + one, two, three} {
			var h pdu.Header
			h[0], h[1] = 0x43, flags
			var req pdu.LoginRequest
			req.Unmarshal(&h)
			if strings.Contains(s, "CHAP_R") && strings.Contains(s, proof(MD5, false)[len("CHAP_R=0x"):]) {
				return
			}
			resp, answer, outcome := d.Step(&req, []byte(s))
			if resp.Transit || outcome == LoginDone || bytes.Contains(answer, []byte("CHAP_N=prod")) {
				t.Fatalf("%v %q", &resp, answer)
			}
			if outcome == LoginFailed {
				return
			}
		}
	})
}
