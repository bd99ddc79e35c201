package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/identity"
	"ashlar/node/peer"
	"ashlar/replication/wire"
)

// JoinRequest is what a server that wants to be a node sends to any node of the
// cluster: POST /v1/join on the peer port, ALPN "ashlar-api/1". It sends it only
// to who has the certificate authority that its token names.
type JoinRequest struct {
	Version int // cluster.FormatVersion that it knows
	Secret  []byte
	Name    string
	Peer    string
	Gossip  string
	Portals []string
	Request []byte // certificate request, PEM
	Witness bool   `json:",omitempty"`
}

// JoinAnswer makes it one.
type JoinAnswer struct {
	Cluster     string // identity
	ClusterName string
	Node        wire.NodeID
	Authority   []byte                 // certificate, PEM
	Certificate []byte                 // the node's, PEM
	Peers       map[wire.NodeID]string // where the others are, host:port
	Lineage     string                 `json:",omitempty"`
}

const (
	joinPath = "/v1/join"
	joinMax  = 64 << 10 // bytes of a request or an answer
)

// JoinCluster makes this node a member of the cluster of the node at an address
// (host:port), with the text of the cluster's secret; a witness votes, and holds no
// data. Where it fails, nothing has changed here.
func (n *Node) JoinCluster(ctx context.Context, address, secret string, witness bool) error {
	n.orders.Lock()
	defer n.orders.Unlock()
	if err := n.mustBeAlone(""); err != nil {
		return err
	}
	token, err := identity.ParseToken(secret)
	if err != nil {
		return problem(WrongSecret, "this is no join secret: it is the one line that `ashlar cluster secret` prints")
	}
	config := n.config
	if config.Witness = config.Witness || witness; config.Witness {
		config.Portals = nil
	}
	if err := config.portsAreFree(); err != nil {
		return err
	}
	request, key, err := identity.NewRequest()
	if err != nil {
		return err
	}
	answer, err := askToJoin(ctx, address, token, JoinRequest{Version: cluster.FormatVersion, Secret: token.Secret[:],
		Name: n.config.Name, Peer: n.config.Peer(), Gossip: config.gossip(), Portals: config.PortalTexts(), Request: request, Witness: config.Witness})
	if err != nil {
		return err
	}
	s, err := n.enter(answer, key, token, config.Witness)
	if err != nil {
		return errors.Join(err, n.folder.clear())
	}
	n.service.Store(s)
	return s.settle(ctx)
}

// enter writes the folder of an admitted node and starts its service.
func (n *Node) enter(a JoinAnswer, key []byte, token identity.Token, witness bool) (*service, error) {
	if err := n.folder.clear(); err != nil {
		return nil, err
	}
	if err := n.keepIdentity(a.Authority, a.Certificate, key, token); err != nil {
		return nil, err
	}
	r := record{Cluster: a.Cluster, ClusterName: a.ClusterName, Node: a.Node, Name: n.config.Name, Witness: witness, Lineage: a.Lineage}
	s, err := n.newService(r, a.Peers)
	if err != nil {
		return nil, err
	}
	if err := n.folder.keep(r); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.start()
	return s, nil
}

func askToJoin(ctx context.Context, address string, token identity.Token, request JoinRequest) (answer JoinAnswer, err error) {
	text, err := json.Marshal(request)
	if err != nil {
		return answer, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		TLSClientConfig:     token.JoinTLS(peer.API.String(), nil)}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+joinPath, bytes.NewReader(text))
	if err != nil {
		return answer, problem(cluster.Invalid, "%q is no address of a node", address)
	}
	response, err := client.Do(r)
	switch {
	case errors.Is(err, identity.ErrFingerprint):
		return answer, problem(WrongSecret, "the node at %s belongs to another cluster than this secret", address)
	case err != nil:
		return answer, problem(Unreachable, "no node answers at %s: %v", address, rootOf(err)).
			next("is it the peer address of a running node of the cluster?")
	}
	defer response.Body.Close()
	text, err = io.ReadAll(io.LimitReader(response.Body, joinMax))
	if err != nil {
		return answer, problem(Unreachable, "the node at %s broke off: %v", address, err)
	}
	if response.StatusCode == http.StatusOK {
		return answer, json.Unmarshal(text, &answer)
	}
	var p Problem
	if json.Unmarshal(text, &p) != nil || p.Text == "" {
		return answer, problem(Unreachable, "the node at %s answered %s", address, response.Status)
	}
	return answer, &p
}

// rootOf drops what an HTTP client says around the reason.
func rootOf(err error) error {
	var o *net.OpError
	if errors.As(err, &o) {
		return o.Err
	}
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return err
}

// serveJoins answers servers that want to be nodes, until the listener is closed.
func (s *service) serveJoins(l net.Listener) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+joinPath, s.handleJoin)
	mux.HandleFunc("GET "+lineagePath, s.handleLineage)
	server := &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10}
	go func() {
		<-s.ctx.Done()
		server.Close()
	}()
	if err := server.Serve(l); s.ctx.Err() == nil {
		s.log.Error("answering servers that want to join", "error", err)
	}
}

func (s *service) handleJoin(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 15*time.Second)
	defer cancel()
	var request JoinRequest
	var answer JoinAnswer
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, joinMax)).Decode(&request)
	if err != nil {
		err = problem(cluster.Invalid, "this is no request to join: %v", err)
	} else {
		answer, err = s.admit(ctx, request)
	}
	w.Header().Set("Content-Type", "application/json")
	if err == nil {
		json.NewEncoder(w).Encode(answer)
		return
	}
	var p *Problem
	if !errors.As(err, &p) {
		s.log.Error("admitting a node", "from", r.RemoteAddr, "error", err)
		p = problem(Internal, "the node could not admit this one: %v", err)
	}
	w.WriteHeader(http.StatusForbidden)
	json.NewEncoder(w).Encode(p)
}

// admit makes a node of who knows the secret.
func (s *service) admit(ctx context.Context, r JoinRequest) (answer JoinAnswer, err error) {
	state := s.consensus.State()
	var token identity.Token
	if state.ID == "" {
		return answer, problem(NotReady, "the node that was asked has not heard from its cluster yet: ask another")
	}
	if copy(token.Secret[:], r.Secret) != len(token.Secret) || !token.Check(state.Secret) {
		return answer, problem(WrongSecret, "cluster %q does not know this join secret", state.Name).
			next("`ashlar cluster secret` on one of its nodes prints the right one")
	}
	if r.Version < state.Version {
		return answer, problem(TooNew, "cluster %q is of version %d, this node's release knows %d", state.Name, state.Version, r.Version).
			next("install the cluster's release here")
	}
	authority, err := identity.ParseAuthority(state.Authority.Certificate, state.Authority.Key)
	if err != nil {
		return answer, err
	}
	id, err := s.number(ctx, r)
	if err != nil {
		return answer, err
	}
	answer = JoinAnswer{Cluster: state.ID, ClusterName: state.Name, Node: id, Authority: state.Authority.Certificate, Peers: map[wire.NodeID]string{}, Lineage: state.Lineage}
	for id, n := range state.Nodes {
		if !n.Expelled {
			answer.Peers[id] = n.Peer
		}
	}
	answer.Certificate, err = authority.IssueNode(r.Request, id, time.Now())
	if err != nil {
		return answer, problem(cluster.Invalid, "%v", err)
	}
	s.log.Info("admitted a node", "node", id, "name", r.Name, "peer", r.Peer)
	return answer, nil
}

// number is the new node's: that of an earlier attempt which never came to
// life, or a new one.
func (s *service) number(ctx context.Context, r JoinRequest) (wire.NodeID, error) {
	if old := s.consensus.State().NodeNamed(r.Name); old != nil && old.Peer == r.Peer && old.Witness == r.Witness && old.Incarnation == 0 {
		return old.ID, nil
	} else if old != nil && old.Awaited {
		return comesBack(old, r)
	}
	for _, address := range append([]string{r.Peer, r.Gossip}, r.Portals...) {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return 0, problem(cluster.Invalid, "%q is no address", address)
		}
	}
	if len(r.Portals) > portalsMax {
		return 0, problem(cluster.Invalid, "a node has at most %d portals", portalsMax)
	}
	result, err := s.propose(ctx, cluster.Command{AddNode: &cluster.AddNode{Name: r.Name, Peer: r.Peer, Gossip: r.Gossip, Portals: r.Portals, Witness: r.Witness}})
	if err == nil && result.Node == 0 {
		err = fmt.Errorf("node: the cluster admitted a node without a number")
	}
	return result.Node, err
}

// comesBack is the number of a node whose identity was lost with all of raft. It has to come to where it was, so that there are
// never two of it.
func comesBack(old *cluster.Node, r JoinRequest) (wire.NodeID, error) {
	switch {
	case old.Peer != r.Peer:
		return 0, problem(cluster.Refused, "node %q is awaited at %s, not at %s", old.Name, old.Peer, r.Peer).
			next("start it with the address that it had; it may be given another one when it has joined")
	case old.Witness != r.Witness:
		return 0, problem(cluster.Refused, "node %q is awaited: what it was, data node or witness, it stays", old.Name)
	}
	return old.ID, nil
}
