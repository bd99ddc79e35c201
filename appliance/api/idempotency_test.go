package api_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ashlar/appliance/api"
)

// keyed gives an order with a key to a handler.
func keyed(h http.Handler, method, path, key, body string) (int, string) {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", key)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestAnOrderThatIsGivenAgainWithItsKeyIsCarriedOutOnce(t *testing.T) {
	r := newRig(t)
	// Handlers know nothing of each other: the second one is as at another node.
	here, elsewhere := r.handler, r.access.Local(api.Handler(r.node, "test"))
	disk := fmt.Sprintf(`{"path":%q,"size":67108864}`, filepath.Join(t.TempDir(), "disk"))
	host := `{"name":"h","iqn":"iqn.2026-11.com.example:h"}`
	for _, c := range []struct {
		to                      http.Handler
		method, path, key, body string
		status                  int
		words                   string
	}{
		{here, "POST", "/v1/cluster", "create", `{"name":"prod","segment_size":4194304}`, 204, ""},
		{here, "POST", "/v1/cluster", "create", `{"segment_size":4194304,"name":"prod"}`, 204, ""},
		{here, "POST", "/v1/disks", "disk", disk, 200, "node1"},
		{here, "POST", "/v1/disks", "disk", disk, 200, "node1"},
		{here, "POST", "/v1/volumes", "v", `{"name":"v","size":8388608,"copies":1}`, 200, `"id":1`},
		{here, "POST", "/v1/volumes", "v", `{"name":"v","size":8388608,"copies":1}`, 200, `"id":1`},
		{elsewhere, "POST", "/v1/volumes", "v", `{"name":"v","copies":1,"size":8388608}`, 200, `"id":1`},
		{here, "POST", "/v1/volumes", "v", `{"name":"w","size":8388608,"copies":1}`, 422, "key-reused"},
		{elsewhere, "POST", "/v1/volumes", "v", `{"name":"w","size":8388608,"copies":1}`, 422, "key-reused"},
		{elsewhere, "DELETE", "/v1/volumes/v", "v", "", 422, "key-reused"},
		{here, "DELETE", "/v1/volumes/v", "gone", "", 204, ""},
		{here, "DELETE", "/v1/volumes/v", "gone", "", 204, ""},
		{elsewhere, "DELETE", "/v1/volumes/v", "gone", "", 204, ""},
		{elsewhere, "DELETE", "/v1/volumes/v", "again", "", 404, "not-found"},
		{here, "POST", "/v1/volumes", "v", `{"name":"v","size":8388608,"copies":1}`, 200, `"id":1`}, // the first answer, though it is gone
		// What was refused before the cluster was asked may be tried again.
		{here, "POST", "/v1/exports", "e", `{"volume":"x","host":"h","read_only":false}`, 404, "not-found"},
		{here, "POST", "/v1/hosts", "h", host, 204, ""},
		{here, "POST", "/v1/volumes", "x", `{"name":"x","size":8388608,"copies":1}`, 200, `"id":2`},
		{here, "POST", "/v1/exports", "e", `{"volume":"x","host":"h","read_only":false}`, 204, ""},
		{elsewhere, "POST", "/v1/exports", "e", `{"volume":"x","host":"h","read_only":false}`, 204, ""},
		{here, "DELETE", "/v1/volumes/x", "no", "", 409, "published"},
		{elsewhere, "DELETE", "/v1/volumes/x", "no", "", 409, "published"},
		{here, "GET", "/v1/volumes", "v", "", 200, `"x"`}, // a question has no key
		{here, "POST", "/v1/hosts", strings.Repeat("k", 65), host, 422, "invalid"},
		{here, "POST", "/v1/hosts", "two words", host, 422, "invalid"},
	} {
		status, body := keyed(c.to, c.method, c.path, c.key, c.body)
		if status != c.status || !strings.Contains(body, c.words) {
			t.Errorf("%s %s as %s: %d %s; want %d and %q", c.method, c.path, c.key, status, body, c.status, c.words)
		}
	}
	events, err := r.client.Events(context.Background(), api.EventsAsked{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]int{}
	for _, e := range events.Events {
		made[e.Kind]++
	}
	if made["disk-added"] != 1 || made["volume-created"] != 2 || made["volume-deleted"] != 1 || made["export-added"] != 1 {
		t.Errorf("orders were carried out as often as %v", made)
	}
}

// losing is a way to a handler on which the first answers to orders are lost.
type losing struct {
	http.Handler
	answers, orders int
}

func (l *losing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.orders++
	if l.answers == 0 || r.Method == http.MethodGet {
		l.Handler.ServeHTTP(w, r)
		return
	}
	l.answers--
	l.Handler.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

func TestAClientGivesAnOrderAgainWhoseAnswerWasLost(t *testing.T) {
	r := newRig(t)
	way := &losing{Handler: r.handler}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: way}
	go s.Serve(l) //nolint:errcheck // it ends with Close
	t.Cleanup(func() { s.Close() })
	ctx, c := t.Context(), api.NewClient(socket)
	if err := c.CreateCluster(ctx, api.NewCluster{Name: "prod", SegmentSize: 4 << 20}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AddDisk(ctx, api.NewDisk{Path: filepath.Join(t.TempDir(), "disk"), Size: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	way.answers, way.orders = 2, 0
	v, err := c.CreateVolume(ctx, api.NewVolume{Name: "v", Size: 8 << 20, Copies: 1})
	if err != nil || v.ID != 1 || way.orders != 3 {
		t.Errorf("%+v, %v, given %d times", v, err, way.orders)
	}
	way.answers = 1
	if err := c.DeleteVolume(ctx, "v"); err != nil {
		t.Error(err)
	}
	// What is refused is not given again, nor is what cannot have been heard.
	way.answers, way.orders = 0, 0
	if err := c.DeleteVolume(ctx, "v"); err == nil || way.orders != 1 {
		t.Errorf("a volume that is gone: %v, asked for %d times", err, way.orders)
	}
	s.Close()
	began := time.Now()
	if err := c.DeleteVolume(ctx, "v"); err == nil || strings.Contains(err.Error(), "not known") || time.Since(began) > 2*time.Second {
		t.Errorf("no node: %v after %v", err, time.Since(began))
	}
}
