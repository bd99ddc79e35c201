package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"ashlar/node"
	"ashlar/node/cluster"

	"github.com/danielgtaylor/huma/v2"
)

// statuses is the HTTP status of each code; those not listed are our own fault.
var statuses = map[cluster.Code]int{
	cluster.NotFound:  http.StatusNotFound,
	cluster.Exists:    http.StatusConflict,
	cluster.Invalid:   http.StatusUnprocessableEntity,
	cluster.Refused:   http.StatusConflict,
	cluster.Stale:     http.StatusConflict,
	cluster.TooFew:    http.StatusConflict,
	cluster.KeyReused: http.StatusUnprocessableEntity,
	inProgress:        http.StatusConflict,
	forbidden:         http.StatusForbidden,
	cluster.Full:      http.StatusInsufficientStorage,
	cluster.Quota:     http.StatusConflict,
	node.NoCluster:    http.StatusConflict,
	node.InCluster:    http.StatusConflict,
	node.WrongSecret:  http.StatusForbidden,
	node.Unreachable:  http.StatusBadGateway,
	node.NotReady:     http.StatusServiceUnavailable,
	node.InUse:        http.StatusConflict,
	node.BadDisk:      http.StatusConflict,
	node.TooNew:       http.StatusConflict,
}

// answer is an error as it goes to the client.
func answer(err error) error {
	if err == nil {
		return nil
	}
	var p *node.Problem
	if !errors.As(err, &p) {
		p = &node.Problem{Code: node.Internal, Text: err.Error()}
		if errors.Is(err, context.DeadlineExceeded) {
			p.Code, p.Text = node.NotReady, "the cluster did not answer in time: is a majority of its voters up?"
			p.Next = "ashlar cluster status shows what this node knows"
		}
	}
	status := statuses[p.Code]
	if status == 0 {
		status = http.StatusInternalServerError
	}
	return &Problem{Title: http.StatusText(status), Status: status, Detail: p.Text, Code: string(p.Code), Next: p.Next}
}

// Requests that do not fit the API's description are refused by huma, which
// makes its errors with this hook.
func init() {
	huma.NewError = func(status int, message string, details ...error) huma.StatusError {
		for _, d := range details {
			if d != nil {
				message += ": " + d.Error()
			}
		}
		code := cluster.Invalid
		if status >= http.StatusInternalServerError {
			code = node.Internal
		}
		if status == http.StatusNotFound {
			code = cluster.NotFound
		}
		return &Problem{Title: http.StatusText(status), Status: status, Detail: strings.TrimSpace(message), Code: string(code)}
	}
}

// nowhere answers what no operation is asked of.
func nowhere(w http.ResponseWriter, r *http.Request) {
	p := &Problem{Title: http.StatusText(http.StatusNotFound), Status: http.StatusNotFound, Code: string(cluster.NotFound),
		Detail: "there is no " + r.Method + " " + r.URL.Path, Next: "/openapi.json has all operations of this release"}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p) //nolint:errcheck // the client is gone, then
}
