package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"ashlar/appliance/api"
)

func TestACHAPSecretIsTakenFromAFileAndNeverShown(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, 1)
	d.must("cluster", "create", "prod", "--segment-size", "4M")
	d.must("disk", "add", d.path("a"), "--size", "64M")
	d.must("volume", "create", "db", "--size", "8M", "--copies", "1")
	d.must("host", "add", "web1", hostIQN)
	d.must("export", "add", "db", "web1")
	file := func(name, text string) string {
		if err := os.WriteFile(d.path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return d.path(name)
	}
	const secret, mutual = "swordfish-sword", "fishsword-fish-"
	good, back := file("good", secret+"\n"), file("back", mutual)
	d.refuses("host chap web1", "--secret-file FILE or --off")
	d.refuses("host chap web1 --off --secret-file "+good, "--secret-file FILE or --off")
	d.refuses("host chap web1 --secret "+secret, `no flag "--secret"`)
	d.refuses("host chap web2 --secret-file "+good, `did you mean "web1"?`)
	d.refuses("host chap web1 --secret-file "+file("short", "eleven byte\n"), "12 to 100 bytes")
	d.refuses("host chap web1 --secret-file "+file("empty", "\n"), "one line of text")
	d.refuses("host chap web1 --secret-file "+file("lines", secret+"\nmore"), "one line of text")
	d.refuses("host chap web1 --secret-file "+good+" --mutual-secret-file "+good, "must differ")
	d.refuses("host chap web1 --secret-file /nowhere", "/nowhere")
	if h := document[[]api.Host](d, "host", "list"); h[0].CHAP != "none" {
		t.Errorf("after what was refused: %+v", h)
	}

	shown := d.must("host", "chap", "web1", "--secret-file", good, "--mutual-secret-file", back)
	r := command(secret, "host", "chap", "web1", "--secret-file", "-", "--mutual-secret-file", back, "--dir", d.dir)
	if shown += r.stdout + r.stderr; r.code != 0 {
		t.Fatal(r.stderr)
	}
	if h := document[[]api.Host](d, "host", "list"); h[0].CHAP != "mutual" {
		t.Errorf("hosts: %+v", h)
	}
	for _, order := range []string{"host list", "host list -o json", "cluster status -o json", "export list"} {
		shown += d.must(strings.Fields(order)...)
	}
	logsIn(t, d, secret)
	d.must("host", "chap", "web1", "--off")
	if h := document[[]api.Host](d, "host", "list"); h[0].CHAP != "none" {
		t.Errorf("hosts: %+v", h)
	}
	d.end(syscall.SIGTERM)
	if shown += d.log.String(); strings.Contains(shown, "fish") {
		t.Errorf("a secret is shown:\n%s", shown)
	}
}

// logsIn has libiscsi's tools, where they are installed, log in with the secret
// and without it.
func logsIn(t *testing.T, d *daemon, secret string) {
	t.Helper()
	tool, err := exec.LookPath("iscsi-inq")
	if err != nil {
		t.Log("iscsi-inq is not installed (libiscsi-bin): nobody logs in")
		return
	}
	v := document[api.VolumeDetail](d, "volume", "show", "db")
	d.eventually("serves hosts", func() bool { return document[api.Status](d, "status").State == "ready" })
	portal := document[api.Status](d, "status").Portals[0]
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for user, ok := range map[string]bool{"web1%" + secret + "@": true, "web1%another-secret@": false, "": false} {
		url := fmt.Sprintf("iscsi://%s%s/%s/0", user, portal, v.IQN)
		out, err := exec.CommandContext(ctx, tool, "-i", hostIQN, url).CombinedOutput()
		if (err == nil) != ok {
			t.Errorf("%s: %v\n%s", url, err, out)
		}
	}
}
