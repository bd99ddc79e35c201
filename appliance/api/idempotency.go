package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync"

	"ashlar/node"
	"ashlar/node/cluster"

	"github.com/danielgtaylor/huma/v2"
)

// keyHeader names an order that may be given again, because its answer was lost.
const keyHeader = "Idempotency-Key"

const (
	keyMax      = 64  // characters
	repliesKept = 256 // of the latest orders with keys that were carried out here
)

// inProgress refuses an order while one with its key goes on.
const inProgress cluster.Code = "in-progress"

// parameters describes the header, in operations that are orders.
func parameters(method string) []*huma.Param {
	if method == http.MethodGet {
		return nil
	}
	least, most := 1, keyMax
	return []*huma.Param{{Name: keyHeader, In: "header", Schema: &huma.Schema{Type: huma.TypeString, MinLength: &least, MaxLength: &most},
		Description: "A name for this order, drawn by the client: given again with the same name, through any node, it is not carried out again, and told what the first was told. " +
			"Orders about this node alone (create, join, release, reset, adopt, add a disk) are remembered only by it, until it is started again."}}
}

// replies are what orders with keys were told at this node. Those that changed what the cluster has agreed on are known to all
// nodes; this is for the others, and for answers that a later state does not give.
type replies struct {
	node *node.Node

	mu     sync.Mutex
	latest []*reply // oldest first
}

// reply is what one order was told.
type reply struct {
	order cluster.Order
	out   any // nil while the order goes on
}

// called is an order with a key, as a context has it.
type called struct {
	replies *replies
	key     string
}

type calledKey struct{}

// find is middleware: it has the key of an order go with it.
func (r *replies) find(ctx huma.Context, next func(huma.Context)) {
	if key := ctx.Header(keyHeader); key != "" && ctx.Operation().Method != http.MethodGet {
		ctx = huma.WithValue(ctx, calledKey{}, called{r, key})
	}
	next(ctx)
}

// once carries out an order, unless there was one with its key. in is all that is asked for. Where the cluster remembers
// the order and this node does not, whole says whether its answer takes the order's own code, which then changes nothing.
func once[O any](ctx context.Context, operation string, in any, whole bool, f func(context.Context) (O, error)) (out O, err error) {
	c, ok := ctx.Value(calledKey{}).(called)
	if !ok {
		return f(ctx)
	}
	if !validKey(c.key) {
		return out, &node.Problem{Code: cluster.Invalid, Text: "an " + keyHeader + " has 1 to 64 visible characters of ASCII", Next: "a random UUID will do"}
	}
	o := cluster.Order{Key: scoped(ctx, c.key), Of: digest(operation, in)}
	mine, before, err := c.replies.begin(o)
	if err != nil {
		return out, err
	}
	if before != nil {
		return before.(O), nil
	}
	defer func() { c.replies.end(mine, out, err) }()
	known, err := c.replies.node.Repeated(o)
	if err != nil || known && !whole {
		return out, reused(err)
	}
	out, err = f(node.WithOrder(ctx, o))
	return out, reused(err)
}

// scoped keeps the keys of tenants apart: none learns of another's orders.
func scoped(ctx context.Context, key string) string {
	if r := requestOf(ctx); r != nil && r.caller.tenant != "" {
		return digest(r.caller.tenant, key)
	}
	return key
}

func validKey(key string) bool {
	for _, c := range []byte(key) {
		if c <= ' ' || c >= 0x7F {
			return false
		}
	}
	return len(key) <= keyMax
}

// reused says what to do where a key was another order's.
func reused(err error) error {
	var p *node.Problem
	if errors.As(err, &p) && p.Code == cluster.KeyReused {
		p.Next = "draw a new key for each order, and give the same one only with the same order"
	}
	return err
}

func digest(operation string, in any) string {
	text, err := json.Marshal(in)
	if err != nil {
		panic(err) // it was read out of JSON and a URL
	}
	sum := sha256.Sum256(append([]byte(operation+"\n"), text...))
	return hex.EncodeToString(sum[:16])
}

// begin is what the order with the key was told here, or a place for what it will be.
func (r *replies) begin(o cluster.Order) (mine *reply, out any, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.latest {
		switch {
		case l.order.Key != o.Key:
		case l.order.Of != o.Of:
			refused := cluster.Ordered{Order: l.order}.Repeats(o)
			return nil, nil, reused(&node.Problem{Code: refused.Code, Text: refused.Problem})
		case l.out == nil:
			return nil, nil, &node.Problem{Code: inProgress, Text: "the order with this key goes on", Next: "ask again later, with the same key"}
		default:
			return nil, l.out, nil
		}
	}
	mine = &reply{order: o}
	r.latest = append(r.latest, mine)
	return mine, nil, nil
}

// end keeps what an order was told; one that was refused, or of which it is not known, may be given again.
func (r *replies) end(mine *reply, out any, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if mine.out = out; err != nil {
		r.latest = slices.DeleteFunc(r.latest, func(l *reply) bool { return l == mine })
	}
	if n := len(r.latest) - repliesKept; n > 0 {
		r.latest = slices.Clone(r.latest[n:])
	}
}
