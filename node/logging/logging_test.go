package logging

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestLevelsAndArgumentsArrive(t *testing.T) {
	var out bytes.Buffer
	l := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h := Hashi(l).Named("raft").With("term", 7)
	h.Warn("heartbeat lost", "from", "3")
	h.Trace("too much")
	s := Standard(l)
	s.Printf("[ERR] serf: no memory")
	s.Printf("[INFO] serf: joined")
	s.Printf("plain")
	text := out.String()
	for _, want := range []string{
		`level=WARN msg="heartbeat lost" term=7 from=3`,
		`level=ERROR msg="serf: no memory"`,
		`level=INFO msg="serf: joined"`,
		`level=DEBUG msg=plain`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in\n%s", want, text)
		}
	}
	if strings.Contains(text, "too much") {
		t.Error("a trace came through")
	}
}
