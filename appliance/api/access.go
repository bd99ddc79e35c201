package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"ashlar/appliance/audit"
	"ashlar/node"
	"ashlar/node/cluster"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sys/unix"
)

// Codes of problems of who asks, not of what is asked.
const (
	unauthenticated cluster.Code = "unauthenticated"
	expired         cluster.Code = "expired"
	forbidden       cluster.Code = "forbidden"
	tooManyAttempts cluster.Code = "too-many-attempts"
)

// caller is who asks.
type caller struct {
	name   string // of the token, or of the user who opened the socket
	role   cluster.Role
	tenant string // of a cluster.TenantOf
	local  bool   // through the socket
}

// request is what is known of one while it is answered.
type request struct {
	id        string
	caller    caller
	from      string
	operation string
	object    string
	outcome   string
}

type requestKey struct{}

// requestOf is nil where nobody has said who asks.
func requestOf(ctx context.Context) *request {
	r, _ := ctx.Value(requestKey{}).(*request)
	return r
}

// Access says who asks, before a request comes to what Handler made, and keeps the record of orders.
type Access struct {
	node     *node.Node
	log      *slog.Logger
	record   *audit.Log
	attempts *attempts
	now      func() time.Time
}

// NewAccess keeps the record in the node's folder.
func NewAccess(n *node.Node) (*Access, error) {
	record, err := audit.Open(auditPath(n))
	if err != nil {
		return nil, err
	}
	return &Access{node: n, log: n.Config().Log, record: record, attempts: newAttempts(time.Now), now: time.Now}, nil
}

func auditPath(n *node.Node) string { return filepath.Join(n.Config().Dir, "audit.log") }

// Close ends the record.
func (a *Access) Close() error { return a.record.Close() }

type userKey struct{}

// User is an http.Server's ConnContext for a unix socket: it keeps whose process opened it.
func User(ctx context.Context, c net.Conn) context.Context {
	s, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return ctx
	}
	var uid *unix.Ucred
	raw.Control(func(fd uintptr) { uid, _ = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if uid == nil {
		return ctx
	}
	return context.WithValue(ctx, userKey{}, fmt.Sprintf("uid %d", uid.Uid))
}

// Local is for the node's own socket: who may open that is an admin.
func (a *Access) Local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, _ := r.Context().Value(userKey{}).(string)
		a.serve(w, r, &request{caller: caller{name: who, role: cluster.Admin, local: true}}, next)
	})
}

// Network is for everybody else: who shows no good token learns nothing.
func (a *Access) Network(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		known := &request{from: r.RemoteAddr}
		from := netip.Addr{}
		if p, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
			from, known.from = p.Addr(), p.Addr().Unmap().String()
		}
		token, p := a.token(r.Header.Get("Authorization"), from)
		if p != nil {
			w.Header().Set(requestHeader, requestID(r))
			if p.Status == http.StatusTooManyRequests {
				w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(a.attempts.wait(from).Seconds()))))
			} else {
				w.Header().Set("WWW-Authenticate", "Bearer")
			}
			p.write(w)
			return
		}
		known.caller = caller{name: token.Name, role: token.Role, tenant: token.Tenant}
		if !strings.HasPrefix(r.URL.Path, "/v1/") && !strings.HasPrefix(r.URL.Path, "/openapi") && token.Role == cluster.TenantOf {
			w.Header().Set(requestHeader, requestID(r))
			notAllowed(known.caller, "").write(w)
			return
		}
		a.serve(w, r, known, next)
	})
}

// token is the one in an Authorization header (RFC 6750 section 2.1).
func (a *Access) token(header string, from netip.Addr) (*cluster.Token, *Problem) {
	if wait := a.attempts.wait(from); wait > 0 {
		return nil, newProblem(http.StatusTooManyRequests, tooManyAttempts, fmt.Sprintf("%d wrong tokens came from %s", attemptsMax, from),
			fmt.Sprintf("wait for %v, and use a token that `ashlar token list` shows", wait.Round(time.Second)))
	}
	scheme, secret, _ := strings.Cut(header, " ")
	secret = strings.TrimSpace(secret)
	if !strings.EqualFold(scheme, "Bearer") || secret == "" {
		return nil, newProblem(http.StatusUnauthorized, unauthenticated, "the API is for who shows a token",
			"give one with --token-file FILE or $ASHLAR_TOKEN_FILE; `ashlar token create` on a node makes one")
	}
	state, err := a.node.State()
	if err != nil {
		return nil, answer(err).(*Problem)
	}
	t := state.TokenOf([]byte(secret))
	if t == nil {
		if a.attempts.failed(from) {
			a.log.Warn("too many wrong tokens", "from", from, "wait", attemptsTime)
		}
		return nil, newProblem(http.StatusUnauthorized, unauthenticated, "the cluster does not know this token",
			"`ashlar token list` on a node shows those there are, `ashlar token create` makes one")
	}
	if t.Expires != 0 && a.now().UnixMilli() >= t.Expires {
		return nil, newProblem(http.StatusUnauthorized, expired,
			fmt.Sprintf("token %q expired at %s", t.Name, time.UnixMilli(t.Expires).UTC().Format(time.RFC3339)), "`ashlar token create` on a node makes another one")
	}
	return t, nil
}

const requestHeader = "X-Request-Id"

var requestRule = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// requestID is the client's, where it is one that fits into a log.
func requestID(r *http.Request) string {
	if id := r.Header.Get(requestHeader); requestRule.MatchString(id) {
		return id
	}
	b := make([]byte, 8)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// serve passes a request on, and keeps the record of it if it is an order.
func (a *Access) serve(w http.ResponseWriter, r *http.Request, known *request, next http.Handler) {
	known.id = requestID(r)
	w.Header().Set(requestHeader, known.id)
	isOrder := r.Method != http.MethodGet && r.Method != http.MethodHead
	if isOrder {
		limit := http.NewResponseController(w)
		limit.SetReadDeadline(time.Now().Add(bodyTime)) // not every writer has one; then its server is a test's
		known.object = objectOf(r)
		limit.SetReadDeadline(time.Time{})
	}
	next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, known)))
	if !isOrder || known.operation == "" {
		return
	}
	e := audit.Entry{Time: a.now().UTC(), Request: known.id, Who: known.caller.name, Role: string(known.caller.role), From: known.from,
		Operation: known.operation, Object: known.object, Outcome: known.outcome}
	if e.Outcome == "" {
		e.Outcome = "done"
	}
	a.log.Info("order", "request", e.Request, "who", e.Who, "from", e.From, "operation", e.Operation, "object", e.Object, "outcome", e.Outcome)
	if err := a.record.Append(e); err != nil {
		a.log.Error("the record of orders cannot be written", "error", err)
	}
}

// bodyMax bounds an order, bytes, and bodyTime how long it may take to come.
const (
	bodyMax  = 64 << 10
	bodyTime = 10 * time.Second
)

// objectWords are those of an order's that say what it is about. None of them is ever a secret.
var objectWords = []string{"name", "volume", "host", "path", "address", "node", "role", "tenant", "size", "copies"}

// objectOf are the words of an order's body, which stays as it is.
func objectOf(r *http.Request) string {
	text, err := io.ReadAll(io.LimitReader(r.Body, bodyMax))
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(text), r.Body), r.Body}
	var fields map[string]any
	if err != nil || json.Unmarshal(text, &fields) != nil {
		return ""
	}
	var words []string
	for _, w := range objectWords {
		switch v := fields[w].(type) {
		case string:
			words = append(words, w+"="+short(v))
		case float64:
			words = append(words, w+"="+strconv.FormatFloat(v, 'f', -1, 64))
		}
	}
	return strings.Join(words, " ")
}

func short(text string) string {
	const most = 128
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

// authorize lets an operation begin for who has the right to it.
func (s server) authorize(ctx huma.Context, next func(huma.Context)) {
	op := ctx.Operation()
	r := requestOf(ctx.Context())
	if r == nil {
		refuse(ctx, newProblem(http.StatusUnauthorized, unauthenticated, "nobody said who asks", ""))
		return
	}
	r.operation = op.OperationID
	for _, p := range op.Parameters {
		if v := ctx.Param(p.Name); p.In == "path" && v != "" {
			r.object = strings.TrimSpace(p.Name + "=" + short(v) + " " + r.object)
		}
	}
	right, known := Rights[op.OperationID]
	if !r.caller.local && !(known && right.Allows(r.caller.role)) {
		r.outcome = string(forbidden)
		refuse(ctx, notAllowed(r.caller, right.Least))
		return
	}
	if p := s.concerns(r.caller, op, ctx.Param); p != nil {
		r.outcome = p.Code
		refuse(ctx, p)
		return
	}
	next(ctx)
}

func notAllowed(c caller, least cluster.Role) *Problem {
	p := newProblem(http.StatusForbidden, forbidden, fmt.Sprintf("token %q has the role %s, which may not do this", c.name, c.role), "docs/security.md tells which role may do what")
	if least != "" {
		p.Next = fmt.Sprintf("this takes a token of the role %s: ashlar token create NAME --role %s, on a node", least, least)
	}
	return p
}

// finish notes what came of an order, and leaves out of answers to tenants what is not theirs.
func (s server) finish(ctx huma.Context, _ string, v any) (any, error) {
	r := requestOf(ctx.Context())
	if r == nil {
		return v, nil
	}
	if p, ok := v.(*Problem); ok {
		r.outcome = p.Code
	}
	if r.caller.tenant == "" {
		return v, nil
	}
	return s.ownOnly(r.caller.tenant, v), nil
}

func newProblem(status int, code cluster.Code, detail, next string) *Problem {
	return &Problem{Title: http.StatusText(status), Status: status, Detail: detail, Code: string(code), Next: next}
}

func (p *Problem) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p)
}

func refuse(ctx huma.Context, p *Problem) {
	ctx.SetHeader("Content-Type", p.ContentType(""))
	ctx.SetStatus(p.Status)
	json.NewEncoder(ctx.BodyWriter()).Encode(p)
}
