module github.com/crier-ws/crier/bench/scale

go 1.26.0

replace github.com/crier-ws/crier => ../..

require (
	github.com/crier-ws/crier v0.0.0-00010101000000-000000000000
	github.com/gobwas/ws v1.5.0
	github.com/nats-io/nats.go v1.55.0
	golang.org/x/sys v0.50.0
)

require (
	github.com/gobwas/httphead v0.1.0 // indirect
	github.com/klauspost/compress v1.20.4 // indirect
	github.com/nats-io/nkeys v0.4.16 // indirect
	github.com/nats-io/nuid v1.0.1 // indirect
	golang.org/x/crypto v0.58.0 // indirect
)
