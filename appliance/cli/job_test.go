package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"ashlar/appliance/api"
	"ashlar/node"
)

func TestABarIsAsFullAsTheJob(t *testing.T) {
	for percent, want := range map[int]string{
		0:   "[................................] 0 %",
		49:  "[###############.................] 49 %",
		99:  "[###############################.] 99 %",
		100: "[################################] 100 %",
	} {
		if got := bar(percent); got != want {
			t.Errorf("%d: %s", percent, got)
		}
	}
}

func TestAJobThatIsNotWellEndsWithAnErrorThatSaysWhy(t *testing.T) {
	for _, x := range []struct {
		job  api.Job
		code string // empty: it is well
	}{
		{api.Job{State: "done", Result: &api.Verification{Equal: true}}, ""},
		{api.Job{State: "done", Kind: "verify", Result: &api.Verification{Differing: 2}}, "copies-differ"},
		{api.Job{State: "done", Kind: "repair", Result: &api.Verification{Differing: 2, Repaired: 1}}, "copies-differ"},
		{api.Job{State: "done", Result: &api.Verification{Skipped: 9}}, "copies-differ"},
		{api.Job{State: "failed", Problem: "the volume was deleted"}, "job-failed"},
		{api.Job{State: "cancelled", Percent: 40}, "job-cancelled"},
	} {
		err := outcome(x.job)
		if p, _ := err.(*api.Problem); (err == nil) != (x.code == "") || p != nil && p.Code != x.code {
			t.Errorf("%+v: %v", x.job, err)
		}
	}
}

// TestWhoWaitsForAJobSeesABarOnATerminal, on the error output, and nothing of it elsewhere; of a node that is gone it is told
// that the job is not.
func TestWhoWaitsForAJobSeesABarOnATerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	dir, err := os.MkdirTemp("", "ashlar") // t.TempDir's names are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket, err := node.SocketPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		seen, gone bool
	}{{}, {seen: true}, {gone: true}} {
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		asked := 0
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			j := api.Job{ID: 7, Kind: "verify", Volume: "db", State: "running", Percent: 25 * asked, Segments: asked, All: 4}
			switch asked++; {
			case asked > 2 && x.gone:
				panic(http.ErrAbortHandler)
			case asked > 2:
				j.State, j.Result = "done", &api.Verification{Volume: "db", Equal: true}
			}
			json.NewEncoder(w).Encode(j)
		})}
		go server.Serve(l)
		var stdout, plain bytes.Buffer
		stderr := io.Writer(&plain)
		master, terminal := newTerminal(t)
		if x.seen {
			stderr = terminal
		}
		code := Run(t.Context(), "test", []string{"ashlar", "job", "wait", "7", "--dir", dir}, nil, &stdout, stderr)
		server.Close()
		told := plain.String()
		if x.seen {
			terminal.Close()
			text, _ := io.ReadAll(master) // it ends with EIO
			told = string(text)
		}
		switch {
		case x.gone:
			if code != failed || !strings.Contains(told, "the job goes on all the same: ashlar job wait 7") {
				t.Errorf("the node is gone: status %d, %q", code, told)
			}
		case code != 0 || !strings.Contains(stdout.String(), "copies equal"):
			t.Errorf("status %d: %q, %q", code, stdout.String(), told)
		case x.seen && (!strings.Contains(told, `job 7, verify of volume "db": [########........................] 25 %`) || !strings.HasSuffix(told, "\r\x1b[K")):
			t.Errorf("on a terminal: %q", told)
		case !x.seen && told != "":
			t.Errorf("elsewhere: %q", told)
		}
	}
}
