package sessions_assets

import java.io.{ByteArrayOutputStream, IOException}
import java.lang.{Boolean => JavaBoolean}
import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.FileAlreadyExistsException
import java.util.{Arrays, Iterator => JavaIterator}

import io.delta.storage.S3SingleDriverLogStore
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.{FileSystem, Path}

/** Delta's log on S3: each entry is one PUT that the store refuses if the entry is there already.
  *
  * Delta's own store for S3 looks whether an entry is there and then writes it, so that of two drivers which do so at
  * once the second overwrites the entry of the first, and a commit is lost. S3A can ask the store for more, but only
  * through the builder used here: no setting of S3A makes its plain `create` do so.
  *
  * A PUT that fails may have been stored all the same: if its answer is lost, S3A sends it again, and the store refuses
  * the second because of the first. So each failure reads the entry back. If all its bytes are those of this commit, it
  * is this commit: Delta puts a random `txnId` into the `commitInfo` of each, so no two commits are equal.
  */
class ConditionalLogStore(configuration: Configuration) extends S3SingleDriverLogStore(configuration) {

  override def write(
      path: Path, actions: JavaIterator[String], overwrite: JavaBoolean, configuration: Configuration): Unit =
    if (overwrite) super.write(path, actions, overwrite, configuration)
    else {
      // All of it before the entry is opened: what fails here must not leave half an entry behind.
      val content = new ByteArrayOutputStream
      actions.forEachRemaining(action => content.write((action + "\n").getBytes(UTF_8)))
      val entry = content.toByteArray
      val files = path.getFileSystem(configuration)
      try create(files, path, entry)
      catch {
        case failure: IOException =>
          val stored = readBack(files, path, entry.length, failure)
          if (!Arrays.equals(stored, entry)) throw new FileAlreadyExistsException(path.toString)
      }
    }

  /** Write an entry that must not be there yet. */
  private def create(files: FileSystem, path: Path, entry: Array[Byte]): Unit = {
    val stream = files.createFile(path).create().overwrite(false)
      .must("fs.option.create.conditional.overwrite", true).build()
    try stream.write(entry) finally stream.close()
  }

  /** Read an entry after its PUT failed: as many bytes as it should have, and one more if there is one.
    *
    * If there is none, or it cannot be read, nobody knows yet whether the PUT will be stored. That is no conflict, which
    * Delta would answer with another try: the failure itself is thrown.
    */
  private def readBack(files: FileSystem, path: Path, length: Int, failure: IOException): Array[Byte] =
    try {
      val stream = files.open(path)
      try stream.readNBytes(length + 1) finally stream.close()
    } catch {
      case unreadable: IOException =>
        failure.addSuppressed(unreadable)
        throw failure
    }
}
