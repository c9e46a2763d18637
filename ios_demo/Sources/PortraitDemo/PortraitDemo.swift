import Foundation
import PortraitKit

/// The command line of the demo: the same PortraitKit path as the app, with files instead of a camera.
@main
enum PortraitDemo {
    private static let usage = """
        portrait-demo: segments photos with a package that `portrait-export coreml` wrote.

        \(SegmentCommand.usage)
        \(VideoCommand.usage)
        \(BenchCommand.usage)
        \(BundleCommand.usage)
        \(CheckCommand.usage)
        """

    static func main() async {
        let words = Array(CommandLine.arguments.dropFirst())
        do {
            try await run(words.first ?? "--help", Array(words.dropFirst()))
        } catch {
            Terminal.warn("error: \(error)")
            exit(2)
        }
    }

    private static func run(_ command: String, _ words: [String]) async throws {
        switch command {
        case "segment": try await SegmentCommand(words).run()
        case "video": try await VideoCommand(words).run()
        case "bench": try await BenchCommand(words).run()
        case "bundle": try await BundleCommand(words).run()
        case "check": exit(try await CheckCommand(words).run() ? 0 : 1)
        case "--help", "-h": print(usage)
        default:
            throw UsageError(
                description: "There is no command \(command); the commands are segment, video, bench, bundle, check.")
        }
    }
}
