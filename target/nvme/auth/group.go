package auth

import (
	"errors"
	"fmt"
	"io"
	"math/big"

	"filippo.io/bigmod"
)

// Group is a Diffie-Hellman group: none, or one of RFC 7919.
type Group uint8

const (
	GroupNull Group = iota
	Group2048
	Group3072
	Group4096
	Group6144
	Group8192
)

// Groups are all that we know, in the order of our preference. After a failure each queue
// of each path of each host costs two exponentiations: the smallest group is
// enough for secrets of random bytes. Without any, a recorded exchange lets who has it
// try secrets.
var Groups = []Group{Group2048, Group3072, Group4096, Group6144, Group8192, GroupNull}

// primes are how the primes of the groups follow from e (RFC 7919, appendix A):
// p = 2^bits - 2^(bits-64) + (floor(2^(bits-130) * e) + offset) * 2^64 - 1.
var primes = map[Group]struct {
	bits   uint
	offset int64
}{
	Group2048: {2048, 560316},
	Group3072: {3072, 2625351},
	Group4096: {4096, 5736041},
	Group6144: {6144, 15705020},
	Group8192: {8192, 10965728},
}

func (g Group) known() bool { return g <= Group8192 }

func (g Group) String() string {
	switch {
	case g == GroupNull:
		return "null"
	case g.known():
		return fmt.Sprintf("ffdhe%d", primes[g].bits)
	}
	return fmt.Sprintf("group %d", uint8(g))
}

// Size is the length of the group's values on the wire, bytes.
func (g Group) Size() int { return int(primes[g].bits / 8) }

// prime is the group's, big-endian.
func (g Group) prime() []byte {
	one, of := big.NewInt(1), primes[g]
	p, _ := new(big.Int).SetString(e, 16)
	p.Rsh(p, eBits-(of.bits-130))
	p.Add(p, big.NewInt(of.offset))
	p.Lsh(p, 64)
	p.Add(p, new(big.Int).Lsh(one, of.bits))
	p.Sub(p, new(big.Int).Lsh(one, of.bits-64))
	return p.Sub(p, one).Bytes()
}

// exponentSize is the length of our private exponents, bytes: more than the 400
// bits that RFC 7919, appendix A, asks for in the largest group.
const exponentSize = 64

var errPublic = errors.New("nvme auth: a Diffie-Hellman value is outside its group")

// exchange is one side of a Diffie-Hellman exchange, for one transaction.
// Making one and its end each take an exponentiation: 1 ms in the smallest group,
// 50 ms in the largest.
type exchange struct {
	group   Group
	modulus *bigmod.Modulus
	private []byte
	public  []byte // of the group's size
}

func newExchange(g Group, random io.Reader) (*exchange, error) {
	x := &exchange{group: g}
	if g == GroupNull {
		return x, nil
	}
	x.private = make([]byte, exponentSize)
	if _, err := io.ReadFull(random, x.private); err != nil {
		return nil, err
	}
	var err error
	if x.modulus, err = bigmod.NewModulus(g.prime()); err != nil {
		return nil, err
	}
	two := bigmod.NewNat().SetUint(2).ExpandFor(x.modulus)
	x.public = bigmod.NewNat().Exp(two, x.private, x.modulus).Bytes(x.modulus)
	return x, nil
}

// shared is the secret that follows from the other side's public value, nil in
// the null group. Values that would make it a known one are refused (SP 800-56A
// 5.6.2.3 and 5.7.1.1).
func (x *exchange) shared(public []byte) ([]byte, error) {
	if x.group == GroupNull {
		if len(public) != 0 {
			return nil, errPublic
		}
		return nil, nil
	}
	if len(public) != x.group.Size() {
		return nil, errPublic
	}
	y, err := bigmod.NewNat().SetBytes(public, x.modulus)
	if err != nil || trivial(y, x.modulus) {
		return nil, errPublic
	}
	z := bigmod.NewNat().Exp(y, x.private, x.modulus)
	if trivial(z, x.modulus) {
		return nil, errPublic
	}
	return z.Bytes(x.modulus), nil
}

// trivial tells 0, 1 and -1 from the others.
func trivial(n *bigmod.Nat, m *bigmod.Modulus) bool {
	return n.IsZero()|n.IsOne()|n.IsMinusOne(m) == 1
}

// e is Euler's number, times 2^eBits.
const (
	eBits = 8064
	e     = "2b7e151628aed2a6abf7158809cf4f3c762e7160f38b4da56a784d9045190cfef324e7738926cfbe5f4bf8d8d8c31d76" +
		"3da06c80abb1185eb4f7c7b5757f5958490cfd47d7c19bb42158d9554f7b46bced55c4d79fd5f24d6613c31c3839a2dd" +
		"f8a9a276bcfbfa1c877c56284dab79cd4c2b3293d20e9e5eaf02ac60acc93ed874422a52ecb238feee5ab6add835fd1a" +
		"0753d0a8f78e537d2b95bb79d8dcaec642c1e9f23b829b5c2780bf38737df8bb300d01334a0d0bd8645cbfa73a6160ff" +
		"e393c48cbbbca060f0ff8ec6d31beb5cceed7f2f0bb088017163bc60df45a0ecb1bcd289b06cbbfea21ad08e1847f3f7" +
		"378d56ced94640d6ef0d3d37be67008e186d1bf275b9b241deb64749a47dfdfb96632c3eb061b6472bbf84c26144e49c" +
		"2d04c324ef10de513d3f5114b8b5d374d93cb8879c7d52ffd72ba0aae7277da7ba1b4af1488d8e836af14865e6c37ab6" +
		"876fe690b571121382af341afe94f77bcf06c83b8ff5675f0979074ad9a787bc5b9bd4b0c5937d3ede4c3a79396215ed" +
		"ab1f57d0b5a7db461dd8f3c75540d00121fd56e95f8c731e9c4d7221bbed0c62bb5a87804b679a0caa41d802a4604c31" +
		"1b71de3e5c6b400e024a6668ccf2e2de86876e4f5c50000f0a93b3aa7e6342b302a0a47373b25f73e3b26d569fe2291a" +
		"d36d6a147d1060b871a2801f9783764082ff592d9140db1e9399df4b0e14ca8e88ee9110b2bd4fa98eed150ca6dd8932" +
		"245ef7592c703f532ce3a30cd31c070eb36b4195ff33fb1c66c7d70f93918107ce2051fed33f6d1de9491c7dea6a5a44" +
		"2e154c8bb6d8d0362803bc248d414478c2afb07ffe78e89b9feca7e3060c08f0d61f8e36801df66d1d8f9392e52caef0" +
		"653199479df2be64bbaab008ca8a06fdace9ce70489845a082ba36d611e99f2fbe724246d18b54e335cac0dd1ab9dfd7" +
		"988a4b0c4558aa119417720b6e150ce2b927d48d7256e445e333cb7572b3bd00fb2746043189cac116cedc7e771ae035" +
		"8ff752a3a6b6c79a58a9a549b50c5870690755c35e4e36b529038ca733fd1aaa8dab40133d80320e0790968c76546b99" +
		"3f6c8ff3b2542750da1ffada7b74731782e330ef7d92c43be1ad8c50a8eae20a5556cbdd1f24c99972cb03c73006f5c0" +
		"8a4e220e74abc179151412b1e2dd60a08a11b02e8d70d7d71645833011bf60945507f1a32721ac08aedc2661da91839d" +
		"146a2a4c425c0ffb87085f9b0e09b94b146a9a4783908f3f267a78c59430485ed89205b36b66a57e756e006522367028" +
		"287f8c1d695df88c60fe07528fcbe915c7bf23382ea293fa2da1577f9cac299bb7b4beeafef9628c3ebeaf87175c6a1f" +
		"8bdd07be307fa1bfa9aeff794c19dfc365f447527dea110f4208b941aa7d185380478aa520e3fe2335a322edf147bbdb" +
		"5"
)
