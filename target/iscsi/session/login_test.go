package session

import (
	"strings"
	"testing"

	"ashlar/target/iscsi/pdu"
)

func TestEachKeyIsAnsweredByItsRule(t *testing.T) {
	for _, c := range []struct{ offer, answer string }{
		{"HeaderDigest=CRC32C,None", "HeaderDigest=CRC32C"},
		{"HeaderDigest=None,CRC32C", "HeaderDigest=None"},
		{"DataDigest=SHA,CRC32C", "DataDigest=CRC32C"},
		{"DataDigest=SHA", "DataDigest=Reject"},
		{"MaxConnections=8", "MaxConnections=1"},
		{"MaxConnections=0", "MaxConnections=Reject"},
		{"InitialR2T=No", "InitialR2T=No"},
		{"InitialR2T=Yes", "InitialR2T=Yes"},
		{"InitialR2T=yes", "InitialR2T=Reject"},
		{"ImmediateData=Yes", "ImmediateData=Yes"},
		{"ImmediateData=No", "ImmediateData=No"},
		{"MaxRecvDataSegmentLength=512", ""},
		{"MaxRecvDataSegmentLength=511", "MaxRecvDataSegmentLength=Reject"},
		{"MaxRecvDataSegmentLength=16777216", "MaxRecvDataSegmentLength=Reject"},
		{"MaxBurstLength=16776192", "MaxBurstLength=16776192"},
		{"MaxBurstLength=16777215", "MaxBurstLength=16776192"},
		{"MaxBurstLength=0x1000", "MaxBurstLength=4096"},
		{"MaxBurstLength=-1", "MaxBurstLength=Reject"},
		{"MaxBurstLength=1_000", "MaxBurstLength=Reject"},
		{"FirstBurstLength=512", "FirstBurstLength=512"},
		{"FirstBurstLength=1048576", "FirstBurstLength=262144"},
		{"MaxOutstandingR2T=65535", "MaxOutstandingR2T=16"},
		{"MaxOutstandingR2T=1", "MaxOutstandingR2T=1"},
		{"DefaultTime2Wait=0", "DefaultTime2Wait=2"},
		{"DefaultTime2Wait=3601", "DefaultTime2Wait=Reject"},
		{"DefaultTime2Retain=20", "DefaultTime2Retain=0"},
		{"DataPDUInOrder=No", "DataPDUInOrder=Yes"},
		{"DataSequenceInOrder=No", "DataSequenceInOrder=Yes"},
		{"ErrorRecoveryLevel=2", "ErrorRecoveryLevel=0"},
		{"ErrorRecoveryLevel=3", "ErrorRecoveryLevel=Reject"},
		{"TaskReporting=FastAbort,RFC3720", "TaskReporting=RFC3720"},
		{"iSCSIProtocolLevel=2", "iSCSIProtocolLevel=1"},
		{"IFMarker=No", "IFMarker=No"},
		{"InitiatorAlias=host", ""},
		{"X-com.example.key=1", "X-com.example.key=NotUnderstood"},
		{"headerdigest=None", "headerdigest=NotUnderstood"},
	} {
		key, value, _ := strings.Cut(c.offer, "=")
		_, text, outcome := begin(t, nil, pdu.Pair{Key: key, Value: value})
		want := "TargetPortalGroupTag=7;"
		if c.answer != "" {
			want += c.answer + ";"
		}
		want += "MaxRecvDataSegmentLength=262144;"
		if got := strings.ReplaceAll(string(text), "\x00", ";"); outcome != LoginDone || got != want {
			t.Errorf("%s: outcome %d, answer %s, want %s", c.offer, outcome, got, want)
		}
	}
}

// begin logs in by one request, of the usual identity and further keys.
func begin(t *testing.T, change func(*pdu.LoginRequest), more ...pdu.Pair) (pdu.LoginResponse, []byte, Outcome) {
	t.Helper()
	l := admitting(LoginSuccess)
	req := request()
	if change != nil {
		change(&req)
	}
	return l.Step(&req, text(append([]pdu.Pair{{Key: "InitiatorName", Value: "iqn.host"}, {Key: "TargetName", Value: "iqn.target"}}, more...)...))
}

func admitting(status LoginStatus) *Login {
	return &Login{Admit: func(Identity) Admission { return Admission{Status: status, Group: 7} }}
}

func request() pdu.LoginRequest {
	return pdu.LoginRequest{Transit: true, CSG: pdu.LoginOperational, NSG: pdu.FullFeature, ITT: 1, CmdSN: 5, ExpStatSN: 9}
}

func text(pairs ...pdu.Pair) (b []byte) {
	for _, p := range pairs {
		b = pdu.AppendText(b, p.Key, p.Value)
	}
	return b
}

func TestLoginsThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*pdu.LoginRequest)
		more   []pdu.Pair
		want   LoginStatus
	}{
		"version":          {change: func(r *pdu.LoginRequest) { r.VersionMin = 1 }, want: LoginVersion},
		"reserved stage":   {change: func(r *pdu.LoginRequest) { r.NSG = 2 }, want: LoginInitiatorError},
		"stage backwards":  {change: func(r *pdu.LoginRequest) { r.NSG = 0 }, want: LoginInitiatorError},
		"full from start":  {change: func(r *pdu.LoginRequest) { r.CSG = 3 }, want: LoginInitiatorError},
		"T and C":          {change: func(r *pdu.LoginRequest) { r.Continue = true }, want: LoginInitiatorError},
		"a key twice":      {more: []pdu.Pair{{Key: "InitialR2T", Value: "No"}, {Key: "InitialR2T", Value: "No"}}, want: LoginInitiatorError},
		"session type":     {more: []pdu.Pair{{Key: "SessionType", Value: "Other"}}, want: LoginSessionType},
		"auth out of turn": {more: []pdu.Pair{{Key: "AuthMethod", Value: "None"}}, want: LoginInitiatorError},
		"no common method": {change: func(r *pdu.LoginRequest) { r.CSG, r.NSG = 0, 1 }, more: []pdu.Pair{{Key: "AuthMethod", Value: "CHAP"}}, want: LoginAuthentication},
	} {
		resp, _, outcome := begin(t, c.change, c.more...)
		if outcome != LoginFailed || LoginStatus(resp.Status) != c.want {
			t.Errorf("%s: outcome %d, status %04x, want %04x", name, outcome, resp.Status, c.want)
		}
	}
}

func TestMissingNamesAndDirectoryRefusals(t *testing.T) {
	for _, c := range []struct {
		status LoginStatus
		keys   []pdu.Pair
		want   LoginStatus
	}{
		{LoginSuccess, []pdu.Pair{{Key: "TargetName", Value: "iqn.t"}}, LoginMissingParameter},
		{LoginSuccess, []pdu.Pair{{Key: "InitiatorName", Value: "iqn.h"}}, LoginMissingParameter},
		{LoginSuccess, []pdu.Pair{{Key: "InitiatorName", Value: strings.Repeat("x", 224)}, {Key: "TargetName", Value: "iqn.t"}}, LoginMissingParameter},
		{LoginUnavailable, []pdu.Pair{{Key: "InitiatorName", Value: "iqn.h"}, {Key: "TargetName", Value: "iqn.t"}}, LoginUnavailable},
		{LoginNotFound, []pdu.Pair{{Key: "InitiatorName", Value: "iqn.h"}, {Key: "TargetName", Value: "iqn.t"}}, LoginNotFound},
	} {
		req := request()
		resp, _, outcome := admitting(c.status).Step(&req, text(c.keys...))
		if outcome != LoginFailed || LoginStatus(resp.Status) != c.want {
			t.Errorf("%v: status %04x, want %04x", c.keys, resp.Status, c.want)
		}
	}
}

func TestLoginThroughAllStagesWithTextInParts(t *testing.T) {
	l := admitting(LoginSuccess)
	whole := text(pdu.Pair{Key: "InitiatorName", Value: "iqn.h"}, pdu.Pair{Key: "TargetName", Value: "iqn.t"}, pdu.Pair{Key: "AuthMethod", Value: "CHAP,None"})
	req := request()
	req.Transit, req.Continue, req.CSG, req.NSG = false, true, 0, 0
	resp, answer, outcome := l.Step(&req, whole[:20]) // in the middle of a key
	if outcome != LoginGoesOn || len(answer) != 0 || resp.Transit || resp.StatSN != 9 {
		t.Fatalf("first part: %v %q %d", &resp, answer, outcome)
	}
	req.Transit, req.Continue, req.NSG = true, false, pdu.LoginOperational
	resp, answer, outcome = l.Step(&req, whole[20:])
	if outcome != LoginGoesOn || !resp.Transit || string(answer) != "TargetPortalGroupTag=7\x00AuthMethod=None\x00" || resp.StatSN != 10 {
		t.Fatalf("security: %v %q %d", &resp, answer, outcome)
	}
	req.CSG, req.NSG = pdu.LoginOperational, pdu.FullFeature
	resp, answer, outcome = l.Step(&req, text(pdu.Pair{Key: "FirstBurstLength", Value: "65536"}, pdu.Pair{Key: "MaxBurstLength", Value: "4096"}))
	if outcome != LoginDone || !resp.Transit || !strings.Contains(string(answer), "MaxRecvDataSegmentLength=262144") {
		t.Fatalf("operational: %v %q %d", &resp, answer, outcome)
	}
	if l.Params.FirstBurst != 4096 || l.CmdSN != 5 || l.StatSN != 12 {
		t.Fatalf("params %+v cmdsn %d statsn %d", l.Params, l.CmdSN, l.StatSN)
	}
}

// One host is one I_T nexus however it writes its name.
func TestNamesAreComparedInLowerCase(t *testing.T) {
	l := admitting(LoginSuccess)
	req := request()
	_, _, outcome := l.Step(&req, text(pdu.Pair{Key: "InitiatorName", Value: "IQN.1993-08.org:Host"}, pdu.Pair{Key: "TargetName", Value: "iqn.T"}))
	if outcome != LoginDone || l.Identity.Initiator != "iqn.1993-08.org:host" || l.Identity.Target != "iqn.t" {
		t.Fatalf("%d %+v", outcome, l.Identity)
	}
}

func TestLoginThatNeverEndsIsCut(t *testing.T) {
	l := admitting(LoginSuccess)
	req := request()
	req.Transit = false
	keys := text(pdu.Pair{Key: "InitiatorName", Value: "iqn.h"}, pdu.Pair{Key: "TargetName", Value: "iqn.t"})
	for range loginSteps {
		if _, _, outcome := l.Step(&req, keys); outcome != LoginGoesOn {
			t.Fatal("cut too early")
		}
		keys = nil
	}
	if resp, _, outcome := l.Step(&req, nil); outcome != LoginFailed || LoginStatus(resp.Status) != LoginInitiatorError {
		t.Fatalf("step %d: %v", loginSteps+1, &resp)
	}
}

func TestDiscoverySessionFindsDataKeysIrrelevant(t *testing.T) {
	l := admitting(LoginSuccess)
	req := request()
	_, answer, outcome := l.Step(&req, text(pdu.Pair{Key: "InitiatorName", Value: "iqn.h"}, pdu.Pair{Key: "SessionType", Value: "Discovery"}, pdu.Pair{Key: "InitialR2T", Value: "No"}))
	if outcome != LoginDone || !strings.Contains(string(answer), "InitialR2T=Irrelevant") || strings.Contains(string(answer), "TargetPortalGroupTag") {
		t.Fatalf("%d %q", outcome, answer)
	}
}

func TestTextRequests(t *testing.T) {
	normal := &Identity{Initiator: "iqn.h", Target: "iqn.t"}
	discovery := &Identity{Initiator: "iqn.h", Discovery: true}
	for _, c := range []struct {
		id   *Identity
		text string
		ok   bool
		name string
	}{
		{discovery, "SendTargets=All\x00", true, ""},
		{discovery, "SendTargets=iqn.x\x00", true, "iqn.x"},
		{discovery, "SendTargets=\x00", false, ""},
		{discovery, "SendTargets=Bogus\x00", false, ""},
		{normal, "SendTargets=All\x00", true, "iqn.t"},
		{normal, "SendTargets=\x00", true, "iqn.t"},
		{normal, "SendTargets=iqn.t\x00", true, "iqn.t"},
		{normal, "SendTargets=iqn.other\x00", false, ""},
		{normal, "sendtargets=All\x00", false, ""},
		{normal, "SendTargets=all\x00", false, ""},
		{normal, "Key=Value\x00", false, ""},
		{normal, "MaxRecvDataSegmentLength=4096\x00", true, ""},
		{normal, "MaxBurstLength=4096\x00", false, ""},
		{normal, "novalue\x00", false, ""},
		{normal, "", false, ""},
	} {
		p := Defaults()
		ask, ok := Text([]byte(c.text), &p, c.id)
		if ok != c.ok || ok && ask.Name != c.name {
			t.Errorf("%q: %+v %t", c.text, ask, ok)
		}
	}
}

func FuzzLogin(f *testing.F) {
	f.Add([]byte("InitiatorName=iqn.h\x00TargetName=iqn.t\x00InitialR2T=No\x00"), byte(0x87), byte(0))
	f.Fuzz(func(t *testing.T, b []byte, flags, version byte) {
		l := admitting(LoginSuccess)
		for range 3 {
			var h pdu.Header
			h[0], h[1], h[3] = 0x43, flags, version
			var req pdu.LoginRequest
			req.Unmarshal(&h)
			resp, answer, outcome := l.Step(&req, b)
			if len(answer) > loginText {
				t.Fatalf("%d bytes of answer", len(answer))
			}
			if (resp.Status != 0) != (outcome == LoginFailed) {
				t.Fatalf("status %04x, outcome %d", resp.Status, outcome)
			}
			if outcome != LoginGoesOn {
				return
			}
		}
	})
}
