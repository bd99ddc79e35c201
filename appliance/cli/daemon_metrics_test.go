package cli

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"ashlar/node/freeport"
)

// fetch is what a GET answers.
func fetch(t *testing.T, c *http.Client, url string) (status int, text string) {
	t.Helper()
	r, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	all, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(all)
}

func TestMetricsTellOfVolumesAndDisks(t *testing.T) {
	t.Parallel()
	free, err := freeport.Take([]string{"127.0.0.1"}, 1)
	if err != nil {
		t.Fatal(err)
	}
	at := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(free[0])))
	d := newDaemon(t, 1, "--metrics", at)
	if _, text := fetch(t, http.DefaultClient, "http://"+at+"/metrics"); !strings.Contains(text, "ashlar_node_ready 0\n") {
		t.Errorf("a node that is in no cluster says\n%s", text)
	}
	d.must("cluster", "create", "prod", "--segment-size", "4M")
	d.must("disk", "add", d.path("disk"), "--size", "64M")
	d.must("volume", "create", "db", "--size", "8M", "--copies", "1")
	_, text := fetch(t, http.DefaultClient, "http://"+at+"/metrics")
	for _, want := range []string{
		"ashlar_node_ready 1\n", "ashlar_node_is_leader 1\n", `ashlar_node_info{cluster="prod",node="node1",version="test"} 1`,
		`ashlar_volume_size_bytes{volume="db"} 8.388608e+06`, `ashlar_volume_copies{volume="db"} 2`, `ashlar_volume_copies_in_sync{volume="db"} 2`, `ashlar_volume_head{volume="db"} 1`,
		`ashlar_volume_operation_seconds_count{class="write",volume="db"} 0`, `ashlar_volume_transferred_bytes_total{class="read",volume="db"} 0`,
		`ashlar_volume_failed_operations_total{class="write",volume="db"} 0`, `ashlar_volume_operation_seconds_bucket{class="write",volume="db",le="+Inf"} 0`,
		`ashlar_disk_failed{disk="` + d.path("disk") + `"} 0`, `ashlar_disk_seconds{disk="` + d.path("disk") + `",operation="write",quantile="0.99"}`,
		"ashlar_disk_capacity_bytes{", "go_goroutines", "process_resident_memory_bytes",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s in\n%s", want, text)
		}
	}
	// Who has proven nothing may give no orders.
	if status, _ := fetch(t, http.DefaultClient, "http://"+at+"/v1/cluster/secret"); status != http.StatusNotFound {
		t.Errorf("the API answers %d where only metrics are", status)
	}
	// Who may give orders may read them, too.
	socket := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", d.path("api.sock"))
	}}}
	if _, text := fetch(t, socket, "http://node/metrics"); !strings.Contains(text, "ashlar_node_ready 1\n") {
		t.Errorf("the API's socket says\n%s", text)
	}
	if r := command("", "serve", "--dir", d.dir, "--address", "127.0.0.1", "--metrics", "here"); r.code != misused || !strings.Contains(r.stderr, "is not IP:PORT") {
		t.Errorf("%+v", r)
	}
}
