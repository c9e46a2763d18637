#if os(macOS) || os(Linux)
    import Foundation
    import PortraitKit

    /// A `portrait-export serve` process and its two pipes.
    ///
    /// A message is two little-endian 32-bit lengths, so many bytes of JSON, and so many bytes of payload.
    final class ToolkitProcess {
        private let process = Process()
        private let requests = Pipe()
        private let replies = Pipe()
        private let command: String

        /// One message from the process.
        struct Message {
            fileprivate let json: Data
            fileprivate let payload: Data
            fileprivate let command: String

            func header<Header: Decodable>() throws(PortraitError) -> Header {
                do {
                    return try JSONDecoder().decode(Header.self, from: json)
                } catch {
                    let text = String(decoding: json.prefix(200), as: UTF8.self)
                    throw PortraitError.engine(name: command, reason: "it sent \(text).", hint: "")
                }
            }

            /// The payload as little-endian single-precision values.
            func floats() -> [Float] {
                payload.withUnsafeBytes { raw in
                    (0..<(raw.count / 4)).map { index in
                        Float(
                            bitPattern: UInt32(
                                littleEndian: raw.loadUnaligned(fromByteOffset: index * 4, as: UInt32.self)))
                    }
                }
            }
        }

        init(command: String, package: String) throws(PortraitError) {
            self.command = command
            signal(SIGPIPE, SIG_IGN)  // writing to a process that has ended is then an error, not the end of this one
            process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
            process.arguments = [command, "serve", package]
            process.standardInput = requests
            process.standardOutput = replies
            do {
                try process.run()
            } catch {
                throw failure("it cannot be started: \(error.localizedDescription)")
            }
        }

        deinit {
            try? requests.fileHandleForWriting.close()
        }

        func write(_ header: some Encodable, payload: Data) throws(PortraitError) {
            do {
                let json = try JSONEncoder().encode(header)
                var message = Data()
                for count in [json.count, payload.count] {
                    withUnsafeBytes(of: UInt32(count).littleEndian) { message.append(contentsOf: $0) }
                }
                message.append(json)
                message.append(payload)
                try requests.fileHandleForWriting.write(contentsOf: message)
            } catch {
                throw ended()
            }
        }

        func read() throws(PortraitError) -> Message {
            let lengths = try read(8)
            let counts = lengths.withUnsafeBytes { raw in
                [0, 4].map { Int(UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: $0, as: UInt32.self))) }
            }
            return Message(json: try read(counts[0]), payload: try read(counts[1]), command: command)
        }

        func failure(_ reason: String) -> PortraitError {
            PortraitError.engine(
                name: "\(command) serve", reason: reason,
                hint: "Install the toolkit, or name its command: --toolkit .venv/bin/portrait-export.")
        }

        private func read(_ count: Int) throws(PortraitError) -> Data {
            var data = Data(capacity: count)
            while data.count < count {
                guard let part = try? replies.fileHandleForReading.read(upToCount: count - data.count), !part.isEmpty
                else { throw ended() }
                data.append(part)
            }
            return data
        }

        /// The process is gone. What it found wrong with the package, it has said on standard error.
        private func ended() -> PortraitError {
            process.waitUntilExit()
            let code = process.terminationStatus
            guard code != 127 else { return failure("there is no such command.") }
            return PortraitError.engine(name: "\(command) serve", reason: "it ended with exit code \(code).", hint: "")
        }
    }
#endif
