module github.com/crier-ws/crier/test/cluster

go 1.26.0

replace github.com/crier-ws/crier => ../..

replace github.com/crier-ws/crier/bench/scale => ../../bench/scale

tool github.com/nats-io/nats-server/v2

require (
	github.com/crier-ws/crier v0.0.0-00010101000000-000000000000
	github.com/crier-ws/crier/bench/scale v0.0.0-00010101000000-000000000000
	github.com/gobwas/ws v1.5.0
	github.com/nats-io/jwt/v2 v2.8.2
	github.com/nats-io/nats.go v1.55.0
	github.com/nats-io/nkeys v0.4.16
)

require (
	github.com/antithesishq/antithesis-sdk-go v0.8.0-default-no-op // indirect
	github.com/gobwas/httphead v0.1.0 // indirect
	github.com/google/go-tpm v0.9.8 // indirect
	github.com/klauspost/compress v1.20.4 // indirect
	github.com/minio/highwayhash v1.0.4 // indirect
	github.com/nats-io/nats-server/v2 v2.15.2 // indirect
	github.com/nats-io/nuid v1.0.1 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sys v0.50.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)
